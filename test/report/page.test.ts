import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { parseHTML } from 'linkedom';
import { describe, expect, it } from 'vitest';
import { boundedText, contentPolicy, escapeHtml, page, shownText } from '../../src/report/page.ts';

const anything = fc.oneof(fc.string({ unit: 'binary', maxLength: 300 }), fc.string({ unit: fc.constantFrom('<', '>', '"', "'", '&', '\u202e', '\ud800', '\u0000', '\u001b', '👩', 'a', ' '), maxLength: 300 }));

describe('texts of strangers', () => {
  it('are read back from HTML as what they were, in text and in attributes', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom('<', '>', '"', "'", '&', 'amp;', 'script', '/', '=', 'é', '👩'), maxLength: 100 }), (text) => {
        const { document } = parseHTML(`<html><body><p title="${escapeHtml(text)}">${escapeHtml(text)}</p></body></html>`);
        expect(document.querySelectorAll('*')).toHaveLength(3);
        expect([document.querySelector('p')!.textContent, document.querySelector('p')!.getAttribute('title')]).toEqual([text, text]);
      }),
    );
  });

  it('are bounded, and bring neither control characters, nor halves of pairs, nor overrides of direction', () => {
    fc.assert(
      fc.property(anything, fc.integer({ min: 1, max: 50 }), (text, charactersMax) => {
        const shown = boundedText(text, charactersMax);
        expect([...shown].length).toBeLessThanOrEqual(charactersMax);
        expect(shown).not.toMatch(/[\p{Cc}\p{Cs}\u202a-\u202e\u2066-\u2069]/u);
        expect(shownText(text, charactersMax)).toBe(`<bdi>${escapeHtml(shown)}</bdi>`);
      }),
    );
    expect(boundedText('short')).toBe('short');
    expect(boundedText('x'.repeat(10_240), 10)).toBe(`${'x'.repeat(9)}…`);
  });
});

describe('page', () => {
  it('allows its own styles and scripts by their hashes, and nothing else', () => {
    const script = 'document.title = "it\'s <b>"';
    const html = page({ title: '<i>', body: '<p>body</p>', styles: ['p { color: red }'], scripts: [script] });
    const { document } = parseHTML(html);
    const policy = document.querySelector('meta[http-equiv]')!.getAttribute('content')!;
    const hash = (text: string): string => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;
    expect(policy).toContain(`script-src ${hash(script)}`);
    for (const sheet of document.querySelectorAll('style')) expect(policy).toContain(hash(sheet.textContent!));
    expect(policy).toMatch(/^default-src 'none'/);
    expect(policy).not.toMatch(/unsafe|\*|http/);
    expect(document.title).toBe('<i>');
    expect(page({ title: '<i>', body: '<p>body</p>', styles: ['p { color: red }'], scripts: [script] })).toBe(html);
  });

  it('lets a served page add what it needs', () => {
    expect(contentPolicy({ policy: { 'connect-src': ["'self'"], 'script-src': ["'self'"] } })).toMatch(/script-src 'self'; .*connect-src 'self'/);
  });
});
