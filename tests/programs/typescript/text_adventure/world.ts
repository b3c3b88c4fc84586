// SPDX-License-Identifier: Apache-2.0
export interface Room { text: string; exits: Record<string, string>; items?: string[]; needs?: string }
type Verb = (this: World, object: string) => string | null;

export class World {
  #here = "cellar";
  #bag = new Set<string>();
  score = 0;
  constructor(private rooms: Record<string, Room>) {}

  look(): string {
    const { text, exits, items = [] } = this.rooms[this.#here];
    return [text, items.length && `You see: ${items.join(", ")}.`, `Exits: ${Object.keys(exits).join(", ")}.`].filter(Boolean).join(" ");
  }

  static readonly verbs: Record<string, Verb> = {
    look() { return this.look(); },
    go(way) {
      const target = this.rooms[this.#here].exits[way];
      if (!target) return `No way ${way || "nowhere"}.`;
      const { needs } = this.rooms[target];
      if (needs && !this.#bag.has(needs)) return `Locked; it wants a ${needs}.`;
      this.#here = target;
      this.score++;
      return this.look();
    },
    take(item) {
      const items = this.rooms[this.#here].items ?? [];
      const at = items.indexOf(item);
      if (at < 0) return `No ${item} here.`;
      this.#bag.add(...items.splice(at, 1) as [string]);
      this.score += 5;
      return `Taken: ${item}.`;
    },
    bag() { return [...this.#bag].sort().join(", ") || "empty"; },
    quit() { return null; },
  };

  command(line: string): string | null {
    const [verb, ...rest] = line.toLowerCase().split(/\s+/);
    return (World.verbs[verb] ?? (() => `What is "${verb}"?`)).call(this, rest.join(" "));
  }
}
