/**
 * Square root of a positive semi-definite matrix by one-sided Jacobi rotations (Hestenes 1958; Golub and Van Loan,
 * "Matrix Computations", 8.6). Rotating the columns of A until they are orthogonal gives A·V, whose columns are the
 * eigenvectors times their eigenvalues: √A is a sum of outer products of them, and V itself is never needed.
 */

/** Columns whose cosine is below this count as orthogonal: their error stays below float32's. */
const ORTHOGONAL = 1e-9;
/** Convergence is quadratic; 23 × 23 matrices of images take six to nine. */
const SWEEPS_MAX = 30;

/**
 * Makes a function that writes √A into `out`, both order × order.
 *
 * Eigenvalues below 1e-12 of the trace count as zero, so an error of up to 1e-6 · √trace is part of the result, and a
 * matrix that is negative by rounding alone does no harm. About 0.1 ms for order 23.
 */
export function createSquareRoot(order: number): (matrix: Float64Array, out: Float64Array) => void {
  // columns[j · order + i]: column j. The matrix is symmetric, so its rows will do.
  const columns = new Float64Array(order * order);
  return (matrix, out) => {
    columns.set(matrix);
    let trace = 0;
    for (let i = 0; i < order; i++) trace += matrix[i * order + i]!;
    const floor = (1e-12 * trace) ** 2;
    for (let sweep = 0; sweep < SWEEPS_MAX; sweep++) {
      if (rotateAll(columns, order, floor) === 0) break;
    }
    sumOuterProducts(columns, order, floor, out);
  };
}

/** One sweep over all pairs of columns. @returns how many were rotated */
function rotateAll(columns: Float64Array, order: number, floor: number): number {
  let rotations = 0;
  for (let p = 0; p < order * order - order; p += order) {
    for (let q = p + order; q < order * order; q += order) {
      if (rotate(columns, p, q, order, floor)) rotations++;
    }
  }
  return rotations;
}

/** Makes the columns from p and from q orthogonal. @returns false when they are already, or one of them is nothing */
function rotate(columns: Float64Array, p: number, q: number, order: number, floor: number): boolean {
  let pp = 0;
  let qq = 0;
  let pq = 0;
  for (let i = 0; i < order; i++) {
    const a = columns[p + i]!;
    const b = columns[q + i]!;
    pp += a * a;
    qq += b * b;
    pq += a * b;
  }
  if (pp <= floor || qq <= floor || pq * pq <= ORTHOGONAL * ORTHOGONAL * pp * qq) return false;
  const zeta = (qq - pp) / (2 * pq);
  const tangent = (zeta < 0 ? -1 : 1) / (Math.abs(zeta) + Math.sqrt(1 + zeta * zeta));
  const cosine = 1 / Math.sqrt(1 + tangent * tangent);
  const sine = cosine * tangent;
  for (let i = 0; i < order; i++) {
    const a = columns[p + i]!;
    const b = columns[q + i]!;
    columns[p + i] = cosine * a - sine * b;
    columns[q + i] = sine * a + cosine * b;
  }
  return true;
}

/** out = Σ √λ v vᵀ over eigenvectors v, a column being λ v. */
function sumOuterProducts(columns: Float64Array, order: number, floor: number, out: Float64Array): void {
  out.fill(0);
  for (let j = 0; j < order * order; j += order) {
    let square = 0;
    for (let i = 0; i < order; i++) square += columns[j + i]! * columns[j + i]!;
    if (square <= floor) continue;
    const scale = 1 / (Math.sqrt(square) * Math.sqrt(Math.sqrt(square))); // √λ / λ², square being λ²
    for (let u = 0; u < order; u++) {
      const weight = scale * columns[j + u]!;
      for (let v = u; v < order; v++) out[u * order + v]! += weight * columns[j + v]!;
    }
  }
  for (let u = 0; u < order; u++) for (let v = 0; v < u; v++) out[u * order + v] = out[v * order + u]!;
}
