/** Content ids (32 hex digits) as a set with slots: open addressing over four 32-bit words an id, so that millions fit. */
import assert from 'node:assert/strict';

export interface IdTable {
  /** Slots: 0 … capacity − 1. */
  readonly capacity: number;
  /** @returns the slot of the id, new or known */
  add(id: string): number;
  /** @returns its slot, or −1 */
  find(id: string): number;
}

/** @param idsMax ids it has to hold: 16 to 32 bytes each, and a byte a slot */
export function createIdTable(idsMax: number): IdTable {
  const capacity = 2 ** Math.max(4, Math.ceil(Math.log2(idsMax * 1.5)));
  const words = new Uint32Array(4 * capacity);
  const used = new Uint8Array(capacity);
  const wanted = new Uint32Array(4);
  let count = 0;
  /** The id's slot, or the free one where it would go. Ids are hashes: their first word is as good as any hash of them. */
  const locate = (id: string): number => {
    assert(id.length === 32, `Expected an id of 32 hex digits, got "${id}"`);
    for (let w = 0; w < 4; w++) wanted[w] = parseInt(id.slice(8 * w, 8 * w + 8), 16);
    for (let slot = wanted[0]! % capacity; ; slot = (slot + 1) % capacity) {
      if (used[slot] === 0) return slot;
      const at = 4 * slot;
      if (words[at] === wanted[0] && words[at + 1] === wanted[1] && words[at + 2] === wanted[2] && words[at + 3] === wanted[3]) return slot;
    }
  };
  return {
    capacity,
    add: (id) => {
      const slot = locate(id);
      if (used[slot] === 1) return slot;
      assert(++count < capacity, `Expected at most ${idsMax} ids`);
      used[slot] = 1;
      words.set(wanted, 4 * slot);
      return slot;
    },
    find: (id) => {
      const slot = locate(id);
      return used[slot] === 1 ? slot : -1;
    },
  };
}
