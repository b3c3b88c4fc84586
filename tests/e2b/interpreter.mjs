// SPDX-License-Identifier: Apache-2.0
// Every call of E2B's published code-interpreter SDK, against a service that E2B_API_URL and E2B_SANDBOX_URL
// name. tests/e2b/test_contexts.py looks closer at the server inside.
import { check, finish, group, interpreter, same, thrown, until } from './tap.mjs'

const { Sandbox } = interpreter

// Where an ordinary user runs the service without virtual machines, a sandbox has one id.
const oneId = process.env.CSB_TEST_ISOLATION === 'process' && process.getuid() !== 0

// The first one has the template built, which takes longer than a request where processors are emulated.
async function create(options = {}) {
  for (;;) {
    try {
      return await Sandbox.create({ timeoutMs: 600_000, requestTimeoutMs: 120_000, ...options })
    } catch (error) {
      if (!/template code-interpreter-v1 is being built/.test(error.message)) throw error
      console.log(`# ${error.message}`)
    }
  }
}

// What is computed first in a language takes seconds where processors are emulated.
const patient = { timeoutMs: 120_000, requestTimeoutMs: 120_000 }

async function withSandbox(work, options = {}) {
  const s = await create(options)
  try {
    await work(s)
  } finally {
    await s.kill()
  }
}

await group('code', async () => {
  await withSandbox(async (s) => {
    same((await s.getInfo()).templateId, 'code-interpreter-v1', 'Sandbox.create makes one of its own template')
    let e = await s.runCode('x = 1\nx + 1', patient)
    same([e.text, e.results.length, e.results[0].isMainResult, e.error], ['2', 1, true, undefined], 'runCode')
    e = await s.runCode("import sys; print('o'); print('e', file=sys.stderr); x", patient)
    same([e.logs.stdout.join(''), e.logs.stderr.join(''), e.text], ['o\n', 'e\n', '1'], 'state and output')
    e = await s.runCode('[][0]', patient)
    same([e.error?.name, e.error?.value], ['IndexError', 'list index out of range'], 'an error')
    check(e.error?.traceback.includes('Traceback'), 'with its traceback', e.error)
    e = await s.runCode('const n: number = 20; console.log(n); n * 2', { language: 'ts', ...patient })
    same([e.text, e.logs.stdout.join('')], ['40', '20\n'], 'TypeScript')
    e = await s.runCode('[1, 2].map((n) => n * 2).join()', { language: 'js', ...patient })
    same(e.text, '2,4', 'JavaScript')
    e = await s.runCode('cd /tmp; echo $((6 * 7)) $PWD; whoami', { language: 'bash', ...patient })
    same(e.logs.stdout.join(''), '42 /tmp\nuser\n', 'bash')
    e = await s.runCode('import os; [os.environ.get(k) for k in ("OWN", "ONE", "E2B_SANDBOX_ID")]', { envs: { ONE: 'one' }, ...patient })
    same(e.text, `['own', 'one', '${s.sandboxId}']`, 'variables of the sandbox and of one execution')
    await s.files.write('/home/user/in.csv', 'a,b\n1,2\n3,4\n')
    e = await s.runCode("import pandas as pd; t = pd.read_csv('in.csv'); t.to_csv('out.csv', index=False); int(t.b.sum())", patient)
    same([e.text, await s.files.read('out.csv')], ['6', 'a,b\n1,2\n3,4\n'], 'files are those of the sandbox')
    check(!(await s.commands.list()).some((p) => JSON.stringify(p).includes('contexts')), 'its server is no process of the owner')
    same((await s.commands.run(`sudo -n true 2>/dev/null; pgrep -u ${oneId ? 'user' : 'root'} -cf contexts/server.py`)).stdout, '1\n', 'and there is one')
    same(await thrown(() => s.runCode('1', { language: 'cobol' })), 'SandboxError', 'an unknown language')
  }, { envs: { OWN: 'own' } })
})

await group('charts', async () => {
  await withSandbox(async (s) => {
    const e = await s.runCode("import matplotlib.pyplot as plt\nplt.plot([1, 2], [3, 4], label='l'); plt.title('T')\nplt.show()", patient)
    const [r] = e.results
    check(r?.png?.startsWith('iVBOR'), 'a figure is a PNG', e)
    same([r?.chart?.type, r?.chart?.title, r?.chart?.elements[0].points], ['line', 'T', [[1, 3], [2, 4]]], 'and a chart')
    const t = await s.runCode("import pandas as pd; pd.DataFrame({'a': [1, 2]})", patient)
    check(t.results[0]?.html?.includes('<table'), 'a table is HTML', t)
    same(t.results[0]?.data, { a: [1, 2] }, 'and data')
  })
})

await group('contexts', async () => {
  await withSandbox(async (s) => {
    const context = await s.createCodeContext({ cwd: '/tmp', language: 'python', requestTimeoutMs: 60_000 })
    same([context.cwd, context.language], ['/tmp', 'python'], 'createCodeContext')
    same((await s.runCode('import os; z = 1; os.getcwd()', { context, ...patient })).text, '/tmp', 'has a directory')
    same((await s.runCode('z', patient)).error?.name, 'NameError', 'and names of its own')
    const ids = (await s.listCodeContexts()).map((c) => c.id)
    check(ids.length >= 3 && ids.includes(context.id), 'listCodeContexts', ids)
    await s.restartCodeContext(context)
    same((await s.runCode('z', { context, ...patient })).error?.name, 'NameError', 'restartCodeContext')
    await s.removeCodeContext(context.id)
    check(/not found/i.test(await s.runCode('1', { context }).then(String, String)), 'removeCodeContext')
  })
})

await group('streams', async () => {
  await withSandbox(async (s) => {
    const seen = []
    const note = (kind) => (o) => seen.push([kind, (o.line ?? o.text ?? o.name).trim(), Date.now()])
    await s.runCode("import time\nprint(1)\ntime.sleep(3)\ndisplay(2)\nprint(3)\n1/0", {
      onStdout: note('out'), onResult: note('result'), onError: note('error'), ...patient,
    })
    same(seen.map((o) => o.slice(0, 2)), [['out', '1'], ['result', '2'], ['out', '3'], ['error', 'ZeroDivisionError']], 'callbacks, in order')
    check(seen[1][2] - seen[0][2] > 500, 'output comes as it is written', seen)
    await s.runCode('kept = 5', patient)
    const late = await thrown(() => s.runCode('import time\nwhile True: time.sleep(0.1)', { timeoutMs: 1500 }))
    same(late, 'TimeoutError', 'a time-out')
    same((await s.runCode('kept', patient)).text, '5', 'interrupts the code and nothing else')
    const gone = new AbortController()
    setTimeout(() => gone.abort(), 1000)
    const left = await thrown(() => s.runCode("open('/tmp/runs', 'w')\nimport time, os\ntry:\n  time.sleep(600)\nfinally:\n  os.unlink('/tmp/runs')", { signal: gone.signal, timeoutMs: 3000 }))
    check(left !== 'nothing', 'a client that leaves', left)
    check(await until(async () => !(await s.files.exists('/tmp/runs')), 100_000), 'interrupts it too')
    const both = await Promise.all([1, 2, 3].map((n) => s.runCode(`${n} * 10`, patient)))
    same(both.map((r) => r.text), ['10', '20', '30'], 'several at a time')
  })
})

const DRAW = 'import random, secrets, uuid, numpy as np; print(random.random(), np.random.rand(), np.random.default_rng().random(), secrets.token_hex(8), uuid.uuid4())'

async function numbers(s) {
  const python = (await s.runCode(DRAW, patient)).logs.stdout.join('').trim().split(' ')
  const script = (await s.runCode('[Math.random(), crypto.randomUUID()].join()', { language: 'js', ...patient })).text.split(',')
  const shell = (await s.runCode('echo $RANDOM$RANDOM$RANDOM', { language: 'bash', ...patient })).logs.stdout.join('').trim()
  return [...python, ...script, shell]
}

function differ(drawn, name) {
  check(drawn.every((d) => d.length === 8) && drawn[0].every((_, i) => new Set(drawn.map((d) => d[i])).size === drawn.length), name, drawn)
}

await group('apart', async () => {
  const made = await Promise.all([create(), create(), create()])
  differ(await Promise.all(made.map(numbers)), 'sandboxes of one template draw different random numbers, of every kind')
  await Promise.all(made.map((s, i) => s.runCode(`mine = ${i}`, patient)))
  same(await Promise.all(made.map(async (s) => (await s.runCode('mine', patient)).text)), ['0', '1', '2'], 'and share nothing')
  await Promise.all(made.map((s) => s.kill()))
})

await group('fork', async () => {
  const s = await create()
  await s.runCode('import pandas as pd; state = pd.Series([1, 2, 3])', patient)
  await numbers(s)
  const copies = await s.fork({ count: 3, timeoutMs: 300_000 })
  const machines = [s, ...copies]
  same(await Promise.all(machines.map(async (m) => (await m.runCode('int(state.sum())', patient)).text)), Array(4).fill('6'), 'a prepared state is forked')
  differ(await Promise.all(machines.map(numbers)), 'and each draws random numbers of its own')
  await Promise.all(machines.map((m) => m.kill()))
})

await group('pause', async () => {
  const s = await create()
  await s.runCode('held = list(range(5))', patient)
  check(await s.pause(), 'a sandbox with contexts is paused')
  const again = await Sandbox.connect(s.sandboxId, { timeoutMs: 300_000 })
  same((await again.runCode('sum(held)', patient)).text, '10', 'and goes on with all that was defined')
  await again.kill()
})

finish()
