// SPDX-License-Identifier: Apache-2.0
// Every call that E2B's JavaScript SDK has for a sandbox, by the published SDK, against a service
// that E2B_API_URL and E2B_SANDBOX_URL name.
import { randomBytes } from 'node:crypto'
import { readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { check, e2b, finish, group, same, sha256, sleep, thrown, until } from './tap.mjs'

const { Sandbox } = e2b
const URL_ = process.env.E2B_API_URL

async function withSandbox(work, options = {}) {
  const s = await Sandbox.create({ timeoutMs: 600_000, ...options })
  try {
    await work(s)
  } finally {
    await s.kill()
  }
}

async function all(paginator) {
  const found = []
  while (paginator.hasNext) found.push(...(await paginator.nextItems()))
  return found
}

await group('life', async () => {
  const s = await Sandbox.create({ metadata: { test: 'life', 'a b': 'c&d=e %' }, envs: { A: 'eins' }, timeoutMs: 300_000 })
  check(/^i[a-z0-9]{20}$/.test(s.sandboxId), 'Sandbox.create', s.sandboxId)
  check(await s.isRunning(), 'isRunning')
  const info = await s.getInfo()
  same([info.state, info.templateId, info.metadata['a b']], ['running', 'base', 'c&d=e %'], 'getInfo')
  check(info.endAt - info.startedAt === 300_000, 'endAt is startedAt and the timeout', info)
  const mine = await all(Sandbox.list({ query: { metadata: { test: 'life', 'a b': 'c&d=e %' } } }))
  same(mine.map((m) => m.sandboxId), [s.sandboxId], 'Sandbox.list by metadata')
  const none = await all(Sandbox.list({ query: { metadata: { test: 'other' } } }))
  same(none.length, 0, 'and not by others')
  await s.setTimeout(100_000)
  check((await s.getInfo()).endAt < info.endAt, 'setTimeout')
  const again = await Sandbox.connect(s.sandboxId)
  const r = await again.commands.run('echo $A $E2B_SANDBOX $E2B_SANDBOX_ID $E2B_TEMPLATE_ID')
  same(r.stdout, `eins true ${s.sandboxId} base\n`, 'Sandbox.connect, and the variables of a sandbox')
  const [m] = await s.getMetrics()
  check(m && m.memTotal > 5e8 && m.memUsed > 0 && m.cpuCount >= 1 && m.diskTotal > 0, 'getMetrics', m)
  check((await s.getHost(3000)).startsWith(`3000-${s.sandboxId}.localhost:`), 'getHost', s.getHost(3000))
  check(await s.kill(), 'kill')
  check(!(await s.kill()), 'kill of one that is gone is false')
  check(!(await s.isRunning()), 'isRunning is false then')
  same(await thrown(() => s.getInfo()), 'SandboxNotFoundError', 'getInfo then')
  same(await thrown(() => Sandbox.connect(s.sandboxId)), 'SandboxNotFoundError', 'connect then')
  same(await thrown(() => s.setTimeout(1000)), 'SandboxNotFoundError', 'setTimeout then')
  const after = await thrown(() => s.commands.run('true'))
  check(['SandboxNotFoundError', 'TimeoutError'].includes(after), 'a command then', after)
  same(await thrown(() => Sandbox.create('nix')), 'SandboxError', 'an unknown template')
})

await group('expiry', async () => {
  const s = await Sandbox.create({ timeoutMs: 6000 })
  const end = Date.parse((await s.getInfo()).endAt)
  check(await s.isRunning(), 'a sandbox with a short life')
  check(await until(async () => !(await s.isRunning()), 60_000), 'ends by itself')
  check(Date.now() > end - 500, 'and not before', Date.now() - end)
})

await group('commands', () =>
  withSandbox(async (s) => {
    const r = await s.commands.run('echo out; echo err >&2; id -un; pwd')
    same([r.exitCode, r.stdout, r.stderr], [0, 'out\nuser\n/home/user\n', 'err\n'], 'commands.run')
    let error
    await s.commands.run('echo before; exit 3').catch((e) => (error = e))
    same([error?.constructor.name, error?.exitCode, error?.stdout], ['CommandExitError', 3, 'before\n'], 'an exit code')
    const env = await s.commands.run('echo $X; pwd; id -un', { envs: { X: 'y z' }, cwd: '/tmp', user: 'root' })
    same(env.stdout, 'y z\n/tmp\nroot\n', 'envs, cwd, user')
    same(await thrown(() => s.commands.run('sleep 60', { timeoutMs: 1500 })), 'TimeoutError', 'a command that takes too long')
    check(await until(async () => !(await s.commands.list()).some((p) => p.args?.join(' ').includes('sleep 60')), 50_000), 'is ended')
    const got = []
    await s.commands.run('for i in 1 2 3; do echo $i; sleep 0.2; done', { onStdout: (t) => got.push(t) })
    same(got.join(''), '1\n2\n3\n', 'onStdout')
    const bg = await s.commands.run('cat; echo done', { background: true, stdin: true })
    await s.commands.sendStdin(bg.pid, 'hello\n')
    check((await s.commands.list()).some((p) => p.pid === bg.pid), 'commands.list')
    await s.commands.closeStdin(bg.pid)
    const ended = await bg.wait()
    same([ended.stdout, ended.exitCode], ['hello\ndone\n', 0], 'background, sendStdin, closeStdin, wait')
    const long = await s.commands.run('for i in $(seq 1 100); do echo tick $i; sleep 0.2; done', { background: true, timeoutMs: 0 })
    await long.disconnect()
    const seen = []
    const back = await s.commands.connect(long.pid, { onStdout: (t) => seen.push(t) })
    check(await until(() => seen.join('').split('\n').length > 3, 60_000), 'disconnect and reconnect', seen)
    check(await back.kill(), 'kill of a command')
    check((await thrown(() => back.wait())) === 'CommandExitError', 'which its wait tells')
    check(!(await s.commands.kill(long.pid)), 'kill of one that is gone is false')
    const big = await s.commands.run('head -c 3000000 /dev/zero | tr "\\0" x')
    check(big.stdout.length === 3000000 && /^x+$/.test(big.stdout), 'three megabytes of output', big.stdout.length)
    const utf = await s.commands.run('printf "grün 漢字 🦉"')
    same(utf.stdout, 'grün 漢字 🦉', 'text beyond ASCII')
  }))

await group('files', () =>
  withSandbox(async (s) => {
    const w = await s.files.write('a/b.txt', 'hello')
    same([w.path, w.name, w.type], ['/home/user/a/b.txt', 'b.txt', 'file'], 'files.write')
    same(await s.files.read('a/b.txt'), 'hello', 'files.read')
    const bytes = new Uint8Array(randomBytes(300_000))
    await s.files.write('/tmp/bytes', new Blob([bytes]))
    same(sha256(Buffer.from(await s.files.read('/tmp/bytes', { format: 'bytes' }))), sha256(bytes), 'bytes up and down')
    same(sha256(Buffer.from(await (await s.files.read('/tmp/bytes', { format: 'blob' })).arrayBuffer())), sha256(bytes), 'as a blob')
    const several = await s.files.write([{ path: 'x1', data: 'eins' }, { path: 'd/x2', data: 'zwei' }])
    same(several.map((f) => f.path), ['/home/user/x1', '/home/user/d/x2'], 'several files in one request')
    const list = await s.files.list('.', { depth: 2 })
    check(['a', 'b.txt', 'd', 'x1', 'x2'].every((n) => list.some((e) => e.name === n)), 'files.list', list.map((e) => e.path))
    check(await s.files.exists('a/b.txt') && !(await s.files.exists('nope')), 'files.exists')
    const info = await s.files.getInfo('a/b.txt')
    same([info.size, info.type, info.owner, info.permissions], [5, 'file', 'user', '-rw-r--r--'], 'files.getInfo')
    check((await s.files.makeDir('m/n/o')) && !(await s.files.makeDir('m/n/o')), 'files.makeDir')
    same((await s.files.rename('x1', 'm/x3')).path, '/home/user/m/x3', 'files.rename')
    await s.files.remove('m')
    check(!(await s.files.exists('m')), 'files.remove')
    same(await thrown(() => s.files.read('nope')), 'FileNotFoundError', 'reading what is not there')
    same(await thrown(() => s.files.read('/tmp')), 'InvalidArgumentError', 'reading a directory')
    await s.files.write('/root/secret', 'r', { user: 'root' })
    same((await s.files.getInfo('/root/secret', { user: 'root' })).owner, 'root', 'files of another user')
    await s.files.write('empty', '')
    same(await s.files.read('empty'), '', 'an empty file')
  }))

await group('urls', () =>
  withSandbox(async (s) => {
    await s.files.write('f.txt', 'signed')
    const down = await s.downloadUrl('f.txt')
    same(await (await fetch(down)).text(), 'signed', 'a signed download')
    const up = await s.uploadUrl('g.txt')
    const form = new FormData()
    form.append('file', new Blob(['sent']), 'g.txt')
    same((await fetch(up, { method: 'POST', body: form })).status, 200, 'a signed upload')
    same(await s.files.read('g.txt'), 'sent', 'is there')
    same((await fetch(down.replace('f.txt', 'g.txt'))).status, 401, 'a signature is of one path')
    const brief = await s.downloadUrl('f.txt', { useSignatureExpiration: 1 })
    await sleep(2500)
    const late = await fetch(brief)
    const { code, message } = await late.json()
    same([late.status, code, message], [401, 401, 'signature is already expired'], 'and of its time')
    const headers = { 'E2b-Sandbox-Id': s.sandboxId, 'E2b-Sandbox-Port': '49983' }
    same((await fetch(`${URL_}/files?path=f.txt`, { headers })).status, 401, 'without a token there is nothing')
    same((await fetch(`${URL_}/init`, { method: 'POST', headers, body: '{}' })).status, 404, "the service's own calls are not for others")
  }))

await group('watch', () =>
  withSandbox(async (s) => {
    await s.files.makeDir('w')
    const events = []
    const w = await s.files.watchDir('w', (e) => events.push(`${e.type} ${e.name}`), { recursive: true })
    await s.files.write('w/one', '1')
    await s.files.makeDir('w/sub')
    check(await until(() => events.includes('create one') && events.includes('create sub'), 60_000), 'watchDir tells', events)
    await s.files.write('w/sub/two', '2')
    check(await until(() => events.includes('create sub/two'), 60_000), 'also below', events)
    await w.stop()
    const n = events.length
    await s.files.write('w/three', '3')
    await sleep(500)
    same(events.length, n, 'until it is stopped')
  }))

await group('pty', () =>
  withSandbox(async (s) => {
    let text = ''
    const p = await s.pty.create({ cols: 90, rows: 30, timeoutMs: 300_000, onData: (d) => (text += Buffer.from(d).toString()) })
    await s.pty.sendInput(p.pid, new TextEncoder().encode('stty size; echo $TERM\n'))
    check(await until(() => text.includes('30 90') && text.includes('xterm-256color'), 60_000), 'pty.create, sendInput', text)
    await s.pty.resize(p.pid, { cols: 111, rows: 44 })
    await s.pty.sendInput(p.pid, new TextEncoder().encode('stty size\n'))
    check(await until(() => text.includes('44 111'), 60_000), 'pty.resize', text)
    check(await s.pty.kill(p.pid), 'pty.kill')
  }))

await group('ports', () =>
  withSandbox(async (s) => {
    await s.commands.run('python3 -m http.server 3000', { background: true, timeoutMs: 0, cwd: '/tmp' })
    await s.files.write('/tmp/page.txt', 'from inside')
    const headers = { 'E2b-Sandbox-Id': s.sandboxId, 'E2b-Sandbox-Port': '3000' }
    const get = async () => (await fetch(`${URL_}/page.txt`, { headers })).text()
    check(await until(async () => (await get()) === 'from inside', 60_000, 300), 'a web server in the sandbox', await get())
    const closed = await fetch(`${URL_}/`, { headers: { ...headers, 'E2b-Sandbox-Port': '3001' } })
    const body = await closed.json()
    same([closed.status, body.port, body.code], [502, 3001, 502], 'a port nobody listens on')
    const unknown = await fetch(`${URL_}/`, { headers: { ...headers, 'E2b-Sandbox-Id': 'i00000000000000000000' } })
    same([unknown.status, (await unknown.json()).message], [502, 'The sandbox was not found'], 'a sandbox there is not')
    const half = await fetch(`${URL_}/`, { headers: { 'E2b-Sandbox-Port': '3000' } })
    same(half.status, 400, 'half of the headers')
  }))

await group('large', () =>
  withSandbox(async (s) => {
    const data = randomBytes(64 << 20)
    await s.files.write('/tmp/large', new Blob([data]), { requestTimeoutMs: 300_000 })
    const inside = (await s.commands.run('sha256sum /tmp/large', { timeoutMs: 120_000 })).stdout.split(' ')[0]
    same(inside, sha256(data), '64 MiB up')
    const back = await s.files.read('/tmp/large', { format: 'bytes', requestTimeoutMs: 300_000 })
    same(sha256(Buffer.from(back)), sha256(data), '64 MiB down')
  }))

await group('parallel', () =>
  withSandbox(async (s) => {
    const runs = Array.from({ length: 100 }, (_, i) =>
      s.commands.run(`for j in 1 2 3; do echo ${i}-$j; done; exit $((${i} % 2))`, { timeoutMs: 300_000, requestTimeoutMs: 300_000 })
        .catch((e) => (e.constructor.name === 'CommandExitError' ? e : { error: e })))
    const done = await Promise.all(runs)
    const wrong = done.filter((r, i) => r.stdout !== `${i}-1\n${i}-2\n${i}-3\n` || r.exitCode !== i % 2)
    same(wrong.length, 0, '100 commands at once, none mixed up')
  }))

await group('killed', async () => {
  const s = await Sandbox.create({ timeoutMs: 600_000 })
  const started = await s.commands.run('while true; do echo x; sleep 0.1; done', { background: true, timeoutMs: 0 })
  const waiting = started.wait().then(() => 'nothing', (e) => `${e.constructor.name}: ${e.message}`)
  await sleep(500)
  await s.kill()
  const told = await Promise.race([waiting, sleep(60_000).then(() => 'it hangs')])
  check(/SandboxNotFoundError|TimeoutError/.test(told) && /killed|not found|end of life/i.test(told), 'a stream of a killed sandbox', told)
})

await group('pause', async () => {
  const s = await Sandbox.create({ metadata: { test: 'pause' }, timeoutMs: 600_000 })
  await s.files.write('kept.txt', 'kept')
  const bg = await s.commands.run('n=0; while true; do n=$((n+1)); echo $n > /tmp/count; sleep 0.1; done', { background: true, timeoutMs: 0 })
  await s.commands.run('head -c 20000000 /dev/urandom > /tmp/blob; sha256sum /tmp/blob > /tmp/sum; sync')
  check(await s.pause(), 'pause')
  check(!(await s.pause()), 'pause of a paused one is false')
  check(!(await s.isRunning()), 'it does not run')
  same((await s.getInfo()).state, 'paused', 'and is told to be paused')
  same((await all(Sandbox.list({ query: { metadata: { test: 'pause' }, state: ['paused'] } }))).map((m) => m.sandboxId), [s.sandboxId], 'in listings, too')
  same(await thrown(() => s.setTimeout(1000)), 'SandboxNotFoundError', 'and its time cannot be changed')
  const start = Date.now()
  const again = await Sandbox.connect(s.sandboxId)
  console.log(`# resumed in ${Date.now() - start} ms`)
  same(await again.files.read('kept.txt'), 'kept', 'connect resumes it: files')
  const n = Number(await again.files.read('/tmp/count'))
  check(await until(async () => Number(await again.files.read('/tmp/count')) > n + 2, 60_000), 'processes run on')
  check((await again.commands.list()).some((p) => p.pid === bg.pid), 'and are known')
  same((await again.commands.run('sha256sum -c /tmp/sum')).stdout, '/tmp/blob: OK\n', 'memory is whole')
  check(Math.abs(Number((await again.commands.run('date +%s')).stdout) - Date.now() / 1000) < 3, 'the clock is right')
  same((await s.commands.run('echo $E2B_SANDBOX_ID')).stdout, `${s.sandboxId}\n`, 'the token is the same')
  for (let i = 0; i < 5; i++) {
    await again.files.write(`round-${i}`, randomBytes(100_000).toString('hex'))
    check(await again.pause(), `round ${i}`)
    await Sandbox.connect(s.sandboxId)
  }
  same((await again.files.list('.')).filter((e) => e.name.startsWith('round-')).length, 5, 'five rounds under writes')
  await again.pause()
  check(await again.kill(), 'a paused one is killed')
  check(!(await again.kill()), 'once')
  const auto = await Sandbox.create({ timeoutMs: 3000, lifecycle: { onTimeout: 'pause' } })
  check(await until(async () => (await auto.getInfo()).state === 'paused', 60_000), 'onTimeout: pause')
  await auto.kill()
})

// How often the service resumed a sandbox.
async function resumed() {
  const text = await (await fetch(`${URL_}/metrics`)).text()
  return Number(/^codesandbox_live_resumed_total (\d+)$/m.exec(text)[1])
}

await group('wake', async () => {
  const s = await Sandbox.create({ timeoutMs: 120_000, metadata: { test: 'wake' }, lifecycle: { onTimeout: 'pause', autoResume: true } })
  const paused = async () => (await s.getInfo()).state === 'paused'
  same((await s.getInfo()).lifecycle, { onTimeout: 'pause', autoResume: true }, 'autoResume is told')
  await s.files.write('kept', 'kept')
  await s.commands.run('n=0; while true; do n=$((n+1)); echo $n > /tmp/count; sleep 0.1; done', { background: true, timeoutMs: 0 })
  await s.setTimeout(1000)
  check(await until(paused, 60_000), 'its time is over: it is paused')
  const link = await s.downloadUrl('kept')
  const headers = { 'E2b-Sandbox-Id': s.sandboxId, 'E2b-Sandbox-Port': '49983' }
  same((await fetch(`${URL_}/files?path=kept`, { headers })).status, 401, 'who has no token is refused')
  check(await paused(), 'and does not wake it')
  const before = await resumed()
  const both = await Promise.all([s.commands.run('echo awake'), s.files.read('kept'), s.commands.run('cat kept'), s.files.exists('kept')])
  same([both[0].stdout, both[1], both[2].stdout, both[3]], ['awake\n', 'kept', 'kept', true], 'four requests at once are answered')
  same(await resumed() - before, 1, 'and woke it once')
  const info = await s.getInfo()
  check(info.state === 'running' && info.endAt - Date.now() > 200_000, 'it has five minutes now', info)
  const n = Number(await s.files.read('/tmp/count'))
  check(await until(async () => Number(await s.files.read('/tmp/count')) > n, 60_000), 'processes run on')
  check(await s.pause(), 'one that is paused by hand')
  check(await s.isRunning(), 'is woken, too, when asked whether it runs')
  await s.pause()
  same(await (await fetch(link)).text(), 'kept', 'and by a signed link')
  await s.pause()
  const file = `${process.env.CSB_E2B_IMAGES}/${s.sandboxId}/stream.zst`
  const image = readFileSync(file)
  truncateSync(file, image.length - 100)
  const broken = await fetch(`${URL_}/health`, { headers })
  same([broken.status, await broken.json()], [502, { sandboxId: s.sandboxId, message: 'The sandbox is paused and cannot be resumed', code: 502 }], 'one whose image is damaged is 502')
  same(await thrown(() => s.commands.run('true')), 'SandboxNotFoundError', 'which the SDK throws for')
  check(!(await s.isRunning()) && (await paused()), 'it stays paused')
  writeFileSync(file, image)
  same(await s.files.read('kept'), 'kept', 'and is woken when that is mended')
  const plain = await Sandbox.create({ timeoutMs: 600_000 })
  await plain.pause()
  check(!(await plain.isRunning()), 'one without autoResume is not')
  same(await Promise.all([s.kill(), plain.kill()]), [true, true], 'both are ended')
})

await group('fork', async () => {
  const s = await Sandbox.create({ timeoutMs: 600_000 })
  await s.files.write('state', 'prepared')
  await s.commands.run('n=0; while true; do n=$((n+1)); echo $n > /tmp/count; sleep 0.1; done', { background: true, timeoutMs: 0 })
  const start = Date.now()
  const copies = await s.fork({ count: 5, timeoutMs: 300_000 })
  console.log(`# forked into 5 in ${Date.now() - start} ms`)
  const wrong = copies.filter((c) => c instanceof Error)
  same([copies.length, wrong.length], [5, 0], 'a running sandbox is forked five ways')
  if (wrong.length) throw wrong[0]
  same(await Promise.all(copies.map((c) => c.files.read('state'))), Array(5).fill('prepared'), 'each has its state')
  const ids = await Promise.all(copies.map(async (c) => (await c.commands.run('echo $E2B_SANDBOX_ID; cat /proc/sys/kernel/random/uuid')).stdout.split('\n')))
  same(ids.map((i) => i[0]), copies.map((c) => c.sandboxId), 'an id of its own')
  check(new Set(ids.map((i) => i[1])).size === 5, 'and randomness of its own', ids)
  const found = (await copies[0].commands.run('hostname -i; grep -c 127.0.1.1 /etc/hosts; sudo id -u 2>&1')).stdout
  same(found, '127.0.1.1\n1\n0\n', 'and a name of its own, which is found')
  await Promise.all(copies.map((c, i) => c.files.write('state', `copy ${i}`)))
  same(await s.files.read('state'), 'prepared', 'what one writes is not in the others')
  const n = Number(await copies[4].files.read('/tmp/count'))
  check(await until(async () => Number(await copies[4].files.read('/tmp/count')) > n, 60_000), 'processes run on in copies')
  const m = Number(await s.files.read('/tmp/count'))
  check(await until(async () => Number(await s.files.read('/tmp/count')) > m, 60_000), 'and in the source')
  const other = await thrown(() => new Sandbox({ ...s.connectionConfig, sandboxId: copies[0].sandboxId, envdVersion: '0.6.13', envdAccessToken: s.envdAccessToken }).commands.run('true'))
  same(other, 'AuthenticationError', "the source's token does not open a copy")
  same(await Promise.all([s, ...copies].map((c) => c.kill())), Array(6).fill(true), 'all are ended')
})

await group('snapshots', async () => {
  const s = await Sandbox.create({ timeoutMs: 600_000, envs: { A: 'eins', B: 'zwei' } })
  await s.files.write('state', 'prepared')
  await s.commands.run('n=0; while true; do n=$((n+1)); echo $n > /tmp/count; sleep 0.1; done', { background: true, timeoutMs: 0 })
  check(await until(() => s.files.exists('/tmp/count'), 60_000), 'a sandbox at work')
  const start = Date.now()
  const plain = await s.createSnapshot()
  console.log(`# a snapshot was kept after ${Date.now() - start} ms`)
  check(/^s[a-z0-9]{20}:default$/.test(plain.snapshotId) && plain.names.length === 0, 'createSnapshot', plain)
  check(await s.isRunning(), 'the source runs on')
  await s.files.write('state', 'later')
  const first = await s.createSnapshot({ name: 'mine' })
  same(first.names, ['mine:default'], 'one with a name')
  const second = await s.createSnapshot({ name: 'mine' })
  same((await all(s.listSnapshots())).map((x) => x.snapshotId), [second.snapshotId, plain.snapshotId], 'a name is of the latest, which listSnapshots tells')
  same((await all(Sandbox.listSnapshots({ name: 'mine', limit: 1 }))).length, 1, 'by name')
  same((await all(Sandbox.listSnapshots({ sandboxId: 'i00000000000000000000' }))).length, 0, 'and of no other sandbox')
  same((await all(s.listSnapshots({ limit: 1 }))).length, 2, 'in pages')
  await s.kill()
  const begun = Date.now()
  const a = await Sandbox.create(plain.snapshotId, { envs: { B: 'drei' }, metadata: { of: 'snapshot' }, timeoutMs: 300_000 })
  console.log(`# a sandbox began as a snapshot after ${Date.now() - begun} ms`)
  const b = await Sandbox.create('mine', { timeoutMs: 300_000 })
  same([await a.files.read('state'), await b.files.read('state')], ['prepared', 'later'], 'sandboxes begin as snapshots, by id and by name')
  same((await a.commands.run('echo $A $B $E2B_SANDBOX_ID')).stdout, `eins drei ${a.sandboxId}\n`, 'with the variables of both')
  const info = await a.getInfo()
  same([info.templateId, info.metadata], [plain.snapshotId, { of: 'snapshot' }], 'and tell so')
  const n = Number(await a.files.read('/tmp/count'))
  check(await until(async () => Number(await a.files.read('/tmp/count')) > n, 60_000), 'processes run on')
  check(await a.pause(), 'such a sandbox is paused')
  await Sandbox.connect(a.sandboxId)
  same(await a.files.read('state'), 'prepared', 'and resumed')
  check(await Sandbox.deleteSnapshot(plain.snapshotId), 'deleteSnapshot')
  check(!(await Sandbox.deleteSnapshot(plain.snapshotId)), 'once')
  same(await thrown(() => Sandbox.create(plain.snapshotId)), 'SandboxError', 'it is no template any more')
  same(await a.files.read('state'), 'prepared', 'but what began as it lives')
  check(await Sandbox.deleteSnapshot('mine'), 'also by name')
  await a.pause()
  same(await thrown(() => a.createSnapshot()), 'SandboxError', 'none of a paused one')
  same(await Promise.all([a, b].map((x) => x.kill())), [true, true], 'all are ended')
})

await group('several', async () => {
  const made = await Promise.all(Array.from({ length: 4 }, (_, i) => Sandbox.create({ metadata: { several: 'yes' }, envs: { N: String(i) }, timeoutMs: 600_000 })))
  const said = await Promise.all(made.map((s) => s.commands.run('echo $N; cat /proc/sys/kernel/random/uuid; hostname', { timeoutMs: 120_000 })))
  same(said.map((r) => r.stdout.split('\n')[0]), ['0', '1', '2', '3'], 'four sandboxes at once, each its own')
  const different = (line) => new Set(said.map((r) => r.stdout.split('\n')[line])).size
  check(different(1) === 4, 'with numbers of their own', said.map((r) => r.stdout))
  // Without a machine there is no machine's name.
  if (process.env.CSB_TEST_ISOLATION !== 'process') check(different(2) === 4, 'and names', said.map((r) => r.stdout))
  same(await thrown(() => new Sandbox({ ...made[0].connectionConfig, sandboxId: made[0].sandboxId, envdVersion: '0.6.13', envdAccessToken: 'f'.repeat(40) }).commands.run('true')), 'AuthenticationError', 'a wrong token')
  const pages = Sandbox.list({ query: { metadata: { several: 'yes' } }, limit: 3 })
  const first = await pages.nextItems()
  same([first.length, pages.hasNext, (await pages.nextItems()).length, pages.hasNext], [3, true, 1, false], 'pages of a listing')
  same(await Promise.all(made.map((s) => s.kill())), [true, true, true, true], 'all are ended')
})

// An emulated machine takes half a second of processor to begin.
await group('crowd', async () => {
  const count = process.env.CSB_TEST_ISOLATION === 'process' ? 50 : 8
  const start = Date.now()
  const made = await Promise.all(Array.from({ length: count }, (_, i) =>
    Sandbox.create({ envs: { N: String(i) }, timeoutMs: 600_000, requestTimeoutMs: 120_000 })))
  console.log(`# ${count} sandboxes after ${Date.now() - start} ms`)
  const said = await Promise.all(made.map((s) => s.commands.run('echo $N > n; sleep 0.2; cat n', { timeoutMs: 300_000, requestTimeoutMs: 300_000 })))
  same(said.map((r) => r.stdout), made.map((_, i) => `${i}\n`), `${count} sandboxes at once, each its own`)
  same((await all(Sandbox.list({ limit: 20 }))).length, count, 'all are listed')
  same(await Promise.all(made.map((s) => s.kill())), made.map(() => true), 'all are ended')
})

finish()
