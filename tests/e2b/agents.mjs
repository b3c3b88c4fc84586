// SPDX-License-Identifier: Apache-2.0
// Ten programs as agents write them, with E2B's published SDKs, against a service that E2B_API_URL and
// E2B_SANDBOX_URL name. Each is a small task from beginning to end; sdk.mjs and interpreter.mjs look at the
// single calls.
import { check, e2b, finish, group, interpreter, same, until } from './tap.mjs'

const URL_ = process.env.E2B_API_URL
const patient = { timeoutMs: 120_000, requestTimeoutMs: 120_000 }

async function create(Sandbox, options = {}) {
  for (;;) {
    try {
      return await Sandbox.create({ timeoutMs: 600_000, requestTimeoutMs: 120_000, ...options })
    } catch (error) {
      if (!/is being built/.test(error.message)) throw error
    }
  }
}

// A task in a sandbox of its own: `Sandbox` of either SDK.
const task = (name, Sandbox, work) => group(name, async () => {
  const s = await create(Sandbox, { metadata: { task: name } })
  try {
    await work(s)
  } finally {
    await s.kill()
  }
})

await task('analyst', interpreter.Sandbox, async (s) => {
  const rows = Array.from({ length: 200 }, (_, i) => `${['north', 'south', 'west'][i % 3]},${2020 + (i % 4)},${(i * 7) % 50}`)
  await s.files.write('sales.csv', `region,year,amount\n${rows.join('\n')}\n`)
  let e = await s.runCode("import pandas as pd\nsales = pd.read_csv('sales.csv')\nsales.groupby('region').amount.sum()", patient)
  const sums = {}
  for (const row of rows) sums[row.split(',')[0]] = (sums[row.split(',')[0]] ?? 0) + Number(row.split(',')[2])
  check(Object.entries(sums).every(([k, v]) => new RegExp(`${k} +${v}\\b`).test(e.text)), 'a CSV is uploaded and summed up', e)
  e = await s.runCode("import matplotlib.pyplot as plt\nax = sales.groupby('year').amount.sum().plot.bar(title='by year')\nplt.savefig('chart.png')\nplt.show()", patient)
  check(e.results[0]?.chart?.type === 'bar' && e.results[0].chart.elements.length === 4, 'a chart is drawn', e.results[0]?.chart)
  const png = Buffer.from(await s.files.read('chart.png', { format: 'bytes' }))
  check(png.subarray(1, 4).toString() === 'PNG' && png.length > 2000, 'and the picture downloaded', png.length)
})

await task('fixer', e2b.Sandbox, async (s) => {
  await s.files.writeFiles([
    { path: 'lib/mean.py', data: 'def mean(xs):\n    return sum(xs) / len(xs)\n' },
    { path: 'test_mean.py', data: 'import unittest\nfrom lib.mean import mean\nclass T(unittest.TestCase):\n    def test(self):\n        self.assertEqual(mean([1, 3]), 2)\n        self.assertEqual(mean([]), 0)\nunittest.main()\n' },
  ])
  const broken = await s.commands.run('python3 test_mean.py', patient).catch((error) => error)
  check(broken.exitCode === 1 && broken.stderr.includes('lib/mean.py", line 2') && broken.stderr.includes('ZeroDivisionError'), 'tests fail and tell where', broken)
  const source = await s.files.read('lib/mean.py')
  await s.files.write('lib/mean.py', source.replace('sum(xs) / len(xs)', 'sum(xs) / len(xs) if xs else 0'))
  const fixed = await s.commands.run('python3 test_mean.py', patient)
  check(fixed.exitCode === 0 && fixed.stderr.includes('OK'), 'and pass when it is mended', fixed)
})

await task('committer', e2b.Sandbox, async (s) => {
  const git = async (line) => (await s.commands.run(`git ${line}`, { cwd: '/home/user/repo', ...patient })).stdout
  await s.files.makeDir('repo')
  await git('init -q -b main && git config user.name agent && git config user.email agent@example.com')
  await s.files.write('repo/a.txt', 'one\n')
  await git('add . && git commit -qm first && git switch -qc change')
  await s.files.write('repo/a.txt', 'one\ntwo\n')
  check((await git('diff --stat')).includes('1 insertion(+)'), 'a change is seen')
  await git('commit -qam second && git switch -q main && git merge -q --no-ff -m merge change')
  same((await git('log --format=%s')).trim().split('\n').sort(), ['first', 'merge', 'second'], 'a branch is merged')
  await git('bundle create -q ../repo.bundle --all')
  check(Buffer.from(await s.files.read('repo.bundle', { format: 'bytes' })).toString('latin1').startsWith('# v2 git bundle'), 'and taken home')
})

await task('webmaster', e2b.Sandbox, async (s) => {
  await s.files.write('server.py', `
import http.server, json
class H(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        data = json.loads(self.rfile.read(int(self.headers['content-length'])))
        text = json.dumps({'sum': sum(data['xs']), 'path': self.path}).encode()
        self.send_response(200); self.send_header('content-length', str(len(text))); self.end_headers(); self.wfile.write(text)
    def log_message(self, *a): print(*a, flush=True)
http.server.ThreadingHTTPServer(('127.0.0.1', 8080), H).serve_forever()
`)
  let log = ''
  const server = await s.commands.run('python3 server.py', { background: true, timeoutMs: 0, onStderr: (t) => (log += t), onStdout: (t) => (log += t) })
  const ask = (xs) => fetch(`${URL_}/add?x=1`, { method: 'POST', body: JSON.stringify({ xs }),
    headers: { 'E2b-Sandbox-Id': s.sandboxId, 'E2b-Sandbox-Port': '8080' } })
  check(await until(async () => (await ask([])).ok, 60_000, 300), 'a server is started')
  const said = await Promise.all([1, 2, 3, 4].map(async (n) => (await ask([n, n])).json()))
  same(said, [2, 4, 6, 8].map((sum) => ({ sum, path: '/add?x=1' })), 'and answers through its port')
  check(await until(() => log.includes('POST /add'), 60_000), 'its log comes as it is written', log)
  check(await server.kill(), 'until it is ended')
})

await task('patient', e2b.Sandbox, async (s) => {
  const job = await s.commands.run('for i in 1 2 3 4 5 6; do echo step $i; sleep 0.5; done; until [ -e seen ]; do sleep 0.1; done; echo step 7; echo 42 > result; exit 3', { background: true, timeoutMs: 0 })
  await job.disconnect()
  const later = await e2b.Sandbox.connect(s.sandboxId)
  const found = (await later.commands.list()).find((p) => p.pid === job.pid)
  check(found !== undefined, 'a job goes on without its client', found)
  let seen = ''
  const again = await later.commands.connect(job.pid, { timeoutMs: 0, onStdout: (t) => (seen += t) })
  await later.files.write('seen', '')
  const end = await again.wait().catch((error) => error)
  check(end.exitCode === 3 && seen.includes('step 7'), 'another client sees its end', [end, seen])
  same(await later.files.read('result'), '42\n', 'and what it made')
})

await task('typist', e2b.Sandbox, async (s) => {
  let screen = ''
  const type = (text) => s.pty.sendInput(pty.pid, new TextEncoder().encode(text))
  const pty = await s.pty.create({ cols: 100, rows: 30, timeoutMs: 0, onData: (d) => (screen += Buffer.from(d).toString()) })
  await type('python3 -q\n')
  check(await until(() => screen.includes('>>> '), 60_000), 'a prompt in a terminal', screen)
  await type('name = input("who? ")\n')
  check(await until(() => screen.includes('\nwho? '), 60_000), 'asks', screen)
  await type('agent\n')
  await type('print("hello", name.upper())\n')
  check(await until(() => screen.includes('hello AGENT'), 60_000), 'and is answered', screen)
  await type('while True: pass\n\n')
  await until(() => screen.includes('...'), 5000)
  await type('\x03')
  check(await until(() => screen.includes('KeyboardInterrupt'), 60_000), 'Ctrl-C interrupts', screen)
  await s.pty.kill(pty.pid)
})

await task('watcher', e2b.Sandbox, async (s) => {
  await s.files.makeDir('in')
  const done = []
  const watch = await s.files.watchDir('in', async (event) => {
    if (event.type === 'create' && event.name.endsWith('.job')) done.push((await s.commands.run(`rev in/${event.name} 2>/dev/null || cat in/${event.name}`)).stdout && event.name)
  })
  await s.commands.run('for i in 1 2 3; do echo $i > in/.$i; mv in/.$i in/$i.job; sleep 0.2; done')
  check(await until(() => done.length === 3, 60_000), 'every file that comes in is worked on', done)
  same([...done].sort(), ['1.job', '2.job', '3.job'], 'once')
  await watch.stop()
})

await task('polyglot', interpreter.Sandbox, async (s) => {
  await s.runCode('seq 1 50 > numbers.txt', { language: 'bash', ...patient })
  const e = await s.runCode("const n = Deno.readTextFileSync('numbers.txt').trim().split('\\n').map(Number); Deno.writeTextFileSync('squares.json', JSON.stringify(n.map((x: number) => x * x))); n.length", { language: 'ts', ...patient })
  same(e.text, '50', 'one language reads what another wrote')
  const mean = await s.runCode("import json, numpy as np; float(np.mean(json.load(open('squares.json'))))", patient)
  same(mean.text, '858.5', 'and a third')
  const context = await s.createCodeContext({ cwd: '/tmp', requestTimeoutMs: 60_000 })
  const apart = await s.runCode("'np' in globals()", { context, ...patient })
  same(apart.text, 'False', 'a second train of thought is apart')
})

await task('crowd', e2b.Sandbox, async (s) => {
  await s.files.writeFiles(Array.from({ length: 12 }, (_, i) => ({ path: `parts/${i}`, data: `${'word '.repeat(i + 1)}\n` })))
  const counts = await Promise.all(Array.from({ length: 12 }, (_, i) => s.commands.run(`wc -w < parts/${i}`, patient)))
  same(counts.reduce((sum, r) => sum + Number(r.stdout), 0), 78, 'twelve commands at a time, mapped and reduced')
})

await task('explorer', interpreter.Sandbox, async (s) => {
  await s.runCode('import numpy as np\nrng = np.arange(100)\nbest = None', patient)
  const copies = await s.fork({ count: 5, timeoutMs: 300_000 })
  const tried = await Promise.all(copies.map(async (c, i) => Number((await c.runCode(`best = int((rng * ${i}).sum()) % 1009; best`, patient)).text)))
  same(tried, [0, 1, 2, 3, 4].map((i) => (4950 * i) % 1009), 'a prepared state is tried five ways')
  same((await s.runCode('best is None', patient)).text, 'True', 'the original knows of none')
  const winner = copies[tried.indexOf(Math.max(...tried))]
  await winner.pause()
  const resumed = await interpreter.Sandbox.connect(winner.sandboxId)
  same(Number((await resumed.runCode('best', patient)).text), Math.max(...tried), 'the best one is put aside and taken up again')
  await Promise.all(copies.map((c) => c.kill()))
})

finish()
