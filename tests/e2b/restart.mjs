// SPDX-License-Identifier: Apache-2.0
// What a program that uses E2B's SDK sees of a restart of the service: the same objects go on. test_restart.py
// restarts it when this has said "# restart now", and then answers with a line.
import { once } from 'node:events'
import { check, e2b, finish, group, same, thrown, until } from './tap.mjs'

const { Sandbox } = e2b

await group('restart', async () => {
  const s = await Sandbox.create({ timeoutMs: 1_800_000, metadata: { test: 'restart' } })
  const before = await s.getInfo()
  await s.files.write('kept', 'kept')
  const program = 'n=0; until read -t 0.5 word; do n=$((n+1)); echo $n > /tmp/count; echo tick; done; echo "heard $word"'
  const counter = await s.commands.run(program, { background: true, stdin: true, timeoutMs: 0 })
  check(await until(() => s.files.exists('/tmp/count'), 120_000), 'a process counts')
  const end = thrown(() => counter.wait())
  console.log('# restart now')
  await once(process.stdin, 'data')
  check(await end !== 'nothing', 'the stream of a command is cut with an error', await end)
  same(await s.files.read('kept'), 'kept', 'the same object reads its file')
  const info = await s.getInfo()
  same([info.state, info.endAt, info.startedAt], ['running', before.endAt, before.startedAt], 'its time is the same')
  const n = Number(await s.files.read('/tmp/count'))
  check(await until(async () => Number(await s.files.read('/tmp/count')) > n, 120_000), 'a process goes on')
  let heard = ''
  const again = await s.commands.connect(counter.pid, { onStdout: (text) => { heard += text } })
  check(await until(() => heard.includes('tick'), 120_000), 'which is heard again by its pid', heard)
  await s.commands.sendStdin(counter.pid, 'you\n')
  check((await again.wait()).stdout.endsWith('heard you\n'), 'and hears', heard)
  check(Math.abs(Number((await s.commands.run('date +%s')).stdout) - Date.now() / 1000) < 60, 'the clock is right')
  check(await s.kill(), 'it is killed')
  check(!(await s.isRunning()), 'for good')
})
finish()
