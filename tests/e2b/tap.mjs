// SPDX-License-Identifier: Apache-2.0
// TAP output, and what the tests of the SDKs share. CSB_E2B_SDK is the directory with node_modules.
import { createHash } from 'node:crypto'

const modules = `${process.env.CSB_E2B_SDK}/node_modules`
export const e2b = await import(`${modules}/e2b/dist/index.mjs`)
export const interpreter = await import(`${modules}/@e2b/code-interpreter/dist/index.mjs`)

let count = 0
let failed = 0

export function check(good, name, shown) {
  count++
  if (!good) failed++
  console.log(`${good ? 'ok' : 'not ok'} ${count} - ${name}`)
  if (!good) {
    const text = typeof shown === 'string' ? shown : shown instanceof Error ? shown.stack : JSON.stringify(shown)
    for (const line of String(text).slice(0, 3000).split('\n').slice(0, 30)) console.log(`#   ${line}`)
  }
  return good
}

export function same(got, want, name) {
  return check(JSON.stringify(got) === JSON.stringify(want), name, { got, want })
}

// The class's name of what `work` throws, "nothing" when it throws nothing.
export async function thrown(work) {
  try {
    await work()
    return 'nothing'
  } catch (error) {
    return error.constructor.name
  }
}

export async function group(name, work) {
  const only = process.env.CSB_E2B_ONLY
  if (only && !only.split(',').includes(name)) return
  const start = Date.now()
  try {
    await work()
  } catch (error) {
    check(false, `${name} runs to its end`, error)
  }
  console.log(`# ${name}: ${Date.now() - start} ms`)
}

export async function until(condition, ms, step = 100) {
  const end = Date.now() + ms
  while (Date.now() < end) {
    if (await condition()) return true
    await sleep(step)
  }
  return Boolean(await condition())
}

export const sleep = (ms) => new Promise((done) => setTimeout(done, ms))
export const sha256 = (data) => createHash('sha256').update(data).digest('hex')

export function finish() {
  console.log(`1..${count}`)
  process.exit(failed || !count ? 1 : 0)
}
