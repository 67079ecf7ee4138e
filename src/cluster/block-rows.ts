/** What a bounded search (bounds.ts) knows of the block under way: two nearest centroids a row, and groups to compare with. */

/** Buffers are kept from block to block. Distances are squared, and not yet those of the engine. */
export class BlockRows {
  /** To the centroid of the assignment before, exact. */
  own = new Float64Array(0);
  /** The least and the second least seen. */
  best = new Float64Array(0);
  next = new Float64Array(0);
  /** The centroid that `best` is of, and the second least in its group, the own centroid left out. */
  centroid = new Uint32Array(0);
  beside = new Float64Array(0);
  #pairGroup = new Uint16Array(0);
  #pairRow = new Int32Array(0);
  #pairs = 0;
  #scores = new Float32Array(0);

  begin(count: number): void {
    if (this.own.length >= count) return;
    this.own = new Float64Array(count);
    this.best = new Float64Array(count);
    this.next = new Float64Array(count);
    this.beside = new Float64Array(count);
    this.centroid = new Uint32Array(count);
  }

  open(i: number, square: number, centroid: number): void {
    this.own[i] = square;
    this.best[i] = square;
    this.next[i] = Infinity;
    this.centroid[i] = centroid;
  }

  take(i: number, best: number, next: number, centroid: number): void {
    if (best < this.best[i]!) {
      this.next[i] = Math.min(this.best[i]!, next);
      this.best[i] = best;
      this.centroid[i] = centroid;
      this.beside[i] = next;
    } else if (best < this.next[i]!) this.next[i] = best;
  }

  get pairCount(): number {
    return this.#pairs;
  }

  clearPairs(): void {
    this.#pairs = 0;
  }

  pair(group: number, row: number): void {
    if (this.#pairs === this.#pairRow.length) {
      const grown = Math.max(2 ** 16, 2 * this.#pairs);
      const old = [this.#pairGroup, this.#pairRow] as const;
      this.#pairGroup = new Uint16Array(grown);
      this.#pairRow = new Int32Array(grown);
      this.#pairGroup.set(old[0]);
      this.#pairRow.set(old[1]);
    }
    this.#pairGroup[this.#pairs] = group;
    this.#pairRow[this.#pairs++] = row;
  }

  /** @param place where the rows of each group begin; moved on */
  sortPairs(place: Uint32Array): Int32Array {
    const sorted = new Int32Array(this.#pairs);
    for (let p = 0; p < sorted.length; p++) sorted[place[this.#pairGroup[p]!]!++] = this.#pairRow[p]!;
    return sorted;
  }

  scores(count: number): Float32Array {
    if (this.#scores.length < count) this.#scores = new Float32Array(count);
    return this.#scores;
  }
}
