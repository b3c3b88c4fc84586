// SPDX-License-Identifier: Apache-2.0
import { World } from "./world.ts";
import rooms from "./rooms.json" with { type: "json" };

const world = new World(rooms);
const say = (s: string) => console.log(s);
say(world.look());
for (const line of (await new Response(Deno.stdin.readable).text()).trim().split("\n")) {
  say(`> ${line}`);
  const answer = world.command(line);
  if (answer === null) {
    say(`Score: ${world.score}`);
    Deno.exit(world.score);
  }
  say(answer);
}
say("The story stops in the middle.");
