/** The rules by themselves: addresses, opt-outs, entries, turns. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createAddressPolicy } from '../../src/download/address.ts';
import { DownloadConfig, decisiveSettings } from '../../src/download/config.ts';
import { createGate } from '../../src/download/gate.ts';
import { isOptedOut } from '../../src/download/opt-out.ts';
import { parseEntry, shownEntry } from '../../src/download/url.ts';

/** As numbers: [from, to] of the IPv4 networks that the IANA registry calls special and not globally reachable, and multicast. */
const SPECIAL = ['0.0.0.0/8', '10.0.0.0/8', '100.64.0.0/10', '127.0.0.0/8', '169.254.0.0/16', '172.16.0.0/12', '192.0.0.0/24', '192.0.2.0/24', '192.88.99.0/24', '192.168.0.0/16', '198.18.0.0/15', '198.51.100.0/24', '203.0.113.0/24', '224.0.0.0/4', '240.0.0.0/4'].map((network) => {
  const [base, bits] = network.split('/') as [string, string];
  const from = base.split('.').reduce((value, part) => value * 256 + Number(part), 0);
  return [from, from + 2 ** (32 - Number(bits)) - 1] as const;
});
const dotted = (value: number): string => [24, 16, 8, 0].map((shift) => (value >>> shift) & 255).join('.');

describe('addresses', () => {
  it('of special networks are refused, IPv4 and mapped into IPv6 alike, and others allowed', () => {
    const { allows } = createAddressPolicy([]);
    const near = fc.constantFrom(...SPECIAL).chain(([from, to]) => fc.constantFrom(from, to, Math.max(0, from - 1), Math.min(2 ** 32 - 1, to + 1)));
    fc.assert(
      fc.property(fc.oneof(near, fc.integer({ min: 0, max: 2 ** 32 - 1 })), (value) => {
        const isSpecial = SPECIAL.some(([from, to]) => value >= from && value <= to);
        const text = dotted(value);
        // Two small networks more are refused: AS112 and AMT relays, and Azure's WireServer.
        if (/^(192\.31\.196|192\.52\.193|192\.175\.48)\./.test(text) || text === '168.63.129.16') return;
        expect(allows(text), text).toBe(!isSpecial);
        expect(allows(`::ffff:${text}`), text).toBe(!isSpecial);
      }),
      { numRuns: 2_000 },
    );
    for (const text of ['', 'localhost', '1.2.3', '::ffff:1.2.3.4.5', '2606:4700::1%eth0/']) expect(allows(text), text).toBe(false);
    expect(allows('2606:4700::1111')).toBe(true);
  });

  it('that the settings name are allowed, and no others', () => {
    const { allows } = createAddressPolicy(['10.1.0.0/16', 'fd00:1::/32']);
    expect(['10.1.2.3', '::ffff:10.1.2.3', 'fd00:1::5'].map(allows)).toEqual([true, true, true]);
    expect(['10.2.0.1', '127.0.0.1', 'fd00:2::5', '::1'].map(allows)).toEqual([false, false, false, false]);
  });
});

it('opt-outs are read as they are written', () => {
  const settings = DownloadConfig.parse({});
  const says = (value: string, more: Record<string, unknown> = {}): boolean => isOptedOut({ 'x-robots-tag': value }, { ...settings, ...more });
  for (const value of ['noai', 'NoAI', 'noarchive, noimageai', 'none', 'noindex', 'winnow: noindex', 'otherbot: nofollow, winnow: noai', '*: noai', 'unavailable_after: Sat, 25 Jun 2010 15:00:00 PST, noai', 'max-snippet: 5, noai']) expect(says(value), value).toBe(true);
  for (const value of ['', 'all', 'nofollow', 'otherbot: noai', 'otherbot: nofollow, noindex', 'noaixyz', 'max-image-preview: none']) expect(says(value), value).toBe(false);
  expect(says('noindex', { optOut: ['noai'] })).toBe(false);
  expect(says('noai', { optOut: [] })).toBe(false);
  expect(isOptedOut({ 'tdm-reservation': '1' }, settings)).toBe(true);
  expect(isOptedOut({ 'tdm-reservation': '0' }, settings)).toBe(false);
});

it('any text is an entry with an end, and none shows a password', () => {
  fc.assert(
    fc.property(fc.oneof(fc.string({ unit: 'binary', maxLength: 60 }), fc.webUrl({ withFragments: true, withQueryParameters: true })), (text) => {
      const parsed = parseEntry(text);
      if ('url' in parsed) expect(parsed.url).toMatchObject({ username: '', password: '', hash: '' });
      expect(Buffer.from(shownEntry(text)).toString()).toBe(shownEntry(text));
    }),
    { numRuns: 2_000 },
  );
  fc.assert(fc.property(fc.constantFrom('http://', 'HTTPS:', ' ftp:/', 'http:\\\\'), fc.stringMatching(/^[a-z]{6}$/), (scheme, secret) => {
    expect(shownEntry(`${scheme}me:${secret}QQ@host/path`)).not.toContain(`${secret}QQ`);
  }));
});

it('settings that are manners decide nothing', () => {
  const { userAgent, concurrency, retries, ...rest } = decisiveSettings(DownloadConfig.parse({}));
  expect([userAgent, concurrency, retries]).toEqual([undefined, undefined, undefined]);
  expect(decisiveSettings(DownloadConfig.parse({ ports: [443, 80, 80], concurrency: 3, hostDelayMs: 0, userAgent: 'x', totalTimeoutMs: 5 }))).toEqual(rest);
});

describe('a gate', () => {
  const open = (more: object = {}) => createGate({ concurrency: 3, hostConnections: 2, hostDelayMs: 0, hostFailuresMax: 4, ...more });
  const never = new AbortController().signal;

  it('lets no more in than it says, in all and for a host, and everybody in the end', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(fc.integer({ min: 0, max: 3 }), fc.integer({ min: 0, max: 3 })), { maxLength: 40 }), async (visits) => {
        const gate = open();
        const active = new Map<number, number>();
        let all = 0;
        const order: number[][] = [[], [], [], []];
        await Promise.all(
          visits.map(async ([host, ms], i) => {
            const turn = await gate.enter(`host-${host}`, never);
            if (!('release' in turn)) throw new Error(turn.reason);
            order[host]!.push(i);
            all += 1;
            active.set(host, (active.get(host) ?? 0) + 1);
            expect(all).toBeLessThanOrEqual(3);
            expect(active.get(host)).toBeLessThanOrEqual(2);
            await new Promise((resolve) => setTimeout(resolve, ms));
            all -= 1;
            active.set(host, active.get(host)! - 1);
            turn.release();
          }),
        );
        expect(order.flat()).toHaveLength(visits.length);
        for (const entered of order) expect(entered).toEqual([...entered].sort((a, b) => a - b));
      }),
      { numRuns: 40 },
    );
  });

  it('asks a host again some time after it was given up', async () => {
    const gate = createGate({ concurrency: 3, hostConnections: 2, hostDelayMs: 0, hostFailuresMax: 1 }, 2_000);
    gate.report('a', 'timed-out');
    expect(await gate.enter('a', never)).toEqual({ reason: 'timed-out' });
    await new Promise((resolve) => setTimeout(resolve, 2_100));
    expect(await gate.enter('a', never)).toHaveProperty('release');
  });

  it('lets those go who wait for a host that is given up, and those who are told to stop', async () => {
    const gate = open({ hostConnections: 1 });
    const first = await gate.enter('a', never);
    const waiting = [gate.enter('a', never), gate.enter('a', never)];
    for (let i = 0; i < 4; i++) gate.report('a', 'unreachable');
    expect(await Promise.all(waiting)).toEqual([{ reason: 'unreachable' }, { reason: 'unreachable' }]);
    if ('release' in first) first.release();
    const stop = new AbortController();
    const inside = await gate.enter('b', never);
    const stopped = gate.enter('b', stop.signal);
    stop.abort(new Error('enough'));
    await expect(stopped).rejects.toMatchObject({ code: 'ABORTED' });
    if ('release' in inside) inside.release();
    expect(await gate.enter('b', never)).toHaveProperty('release');
  });
});
