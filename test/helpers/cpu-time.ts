/** Processor time of this process, all its threads together: what a bound on cost is held against, since others may keep the machine busy. */

/** @returns a function that tells the milliseconds of processor time since this call */
export function startCpuTimer(): () => number {
  const before = process.cpuUsage();
  return () => {
    const { user, system } = process.cpuUsage(before);
    return (user + system) / 1000;
  };
}
