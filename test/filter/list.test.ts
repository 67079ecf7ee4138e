import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createMatcher, matches, readEntries } from '../../src/filter/list.ts';
import { folderOf } from './filter-run.ts';
import { startCpuTimer } from '../helpers/cpu-time.ts';

describe('matches', () => {
  it('is a regular expression with .* for each star, over any text', () => {
    const letters = fc.string({ unit: fc.constantFrom('a', 'b', '*', '/'), maxLength: 8 });
    const texts = fc.string({ unit: fc.constantFrom('a', 'b', '/'), maxLength: 14 });
    const asRegex = (pattern: string): RegExp => new RegExp(`^${pattern.split('*').map((piece) => piece.replaceAll(/[/.?+^$()[\]{}|\\]/g, '\\$&')).join('[^]*')}$`, 'u');
    fc.assert(fc.property(letters, texts, (pattern, text) => {
      expect(matches(pattern, text)).toBe(asRegex(pattern).test(text));
    }), { numRuns: 3000 });
  });

  it('reads everything but the star as itself', () => {
    expect(matches('https://*.example.com/*', 'https://cdn.example.com/a/b.jpg')).toBe(true);
    expect(matches('https://*.example.com/*', 'https://example.com/a.jpg')).toBe(false);
    expect(matches('https://*.example.com/*', 'https://evil-example.com/a.jpg')).toBe(false);
    expect(matches('a?.jpg', 'ab.jpg')).toBe(false);
    expect(matches('a.jpg', 'axjpg')).toBe(false);
    expect(matches('(a+)+$', 'aaaa')).toBe(false);
  });

  it('takes no time over patterns that ruin backtracking matchers', () => {
    const cpuMs = startCpuTimer();
    for (let i = 0; i < 200; i++) expect(matches(`${'a*'.repeat(200)}b`, 'a'.repeat(5_000))).toBe(false);
    expect(cpuMs()).toBeLessThan(2_000);
  });
});

describe('readEntries', () => {
  it('tells ids from patterns, skips comments, and is the same for any order', async () => {
    const id = 'AB'.repeat(16);
    const folder = await folderOf({ 'one.txt': `# blocked\r\n\r\n${id}\r\npool/a.jpg\nhttps://x.org/*\n`, 'two.txt': `https://x.org/*\npool/a.jpg\n${id.toLowerCase()}${'0'.repeat(32)}` });
    const expected = { ids: [id.toLowerCase()], uris: ['pool/a.jpg'], patterns: ['https://x.org/*'] };
    expect(await readEntries('l', {}, `${folder}/one.txt`)).toEqual(expected);
    expect(await readEntries('l', {}, `${folder}/two.txt`)).toEqual(expected);
    expect(await readEntries('l', { ids: [id.toLowerCase()], uris: ['https://x.org/*', 'pool/a.jpg', 'pool/a.jpg'] }, null)).toEqual(expected);
    await expect(readEntries('l', {}, `${folder}/none.txt`)).rejects.toMatchObject({ code: 'INPUT_MISSING', message: expect.stringContaining('ENOENT') });
    await expect(readEntries('l', { uris: Array.from({ length: 10_001 }, (_, i) => `${i}*`) }, null)).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
  });

  it('is asked by id, whole uri or pattern', () => {
    const { match } = createMatcher({ ids: ['0'.repeat(32)], uris: ['pool/a.jpg'], patterns: ['pool/x/*'] });
    expect(match('0'.repeat(32), 'any')).toBe('0'.repeat(32));
    expect(match(null, 'pool/a.jpg')).toBe('pool/a.jpg');
    expect(match('1'.repeat(32), 'pool/x/1.jpg')).toBe('pool/x/*');
    expect(match('1'.repeat(32), 'pool/y/1.jpg')).toBeNull();
  });
});
