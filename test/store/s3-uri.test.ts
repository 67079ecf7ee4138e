import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatS3Uri, isS3Uri, parseS3Uri, plainS3Uri } from '../../src/store/s3-uri.ts';

describe('an s3:// name', () => {
  it('is read back as it was written', () => {
    const segment = fc.string({ minLength: 1, maxLength: 8 }).filter((text) => !/[/?\0]/.test(text) && text !== '.' && text !== '..');
    const options = fc.record({ endpoint: fc.constantFrom('https://minio.example:9000', 'http://[::1]:80/s3'), region: fc.constantFrom('eu-west-1', 'auto'), pathStyle: fc.boolean() }, { requiredKeys: [] });
    fc.assert(
      fc.property(fc.stringMatching(/^[a-z0-9][a-z0-9.-]{1,20}[a-z0-9]$/), fc.array(segment, { maxLength: 4 }), options, (bucket, segments, options) => {
        const place = { bucket, key: segments.join('/'), options };
        expect(parseS3Uri(formatS3Uri(place))).toEqual(place);
      }),
    );
  });

  it('keeps its own options before those of the recipe', () => {
    expect(parseS3Uri('S3://bucket/a/?region=eu-west-1', { region: 'us-east-1', pathStyle: true })).toEqual({ bucket: 'bucket', key: 'a/', options: { region: 'eu-west-1', pathStyle: true } });
    expect(parseS3Uri('s3://bucket', { region: undefined })).toEqual({ bucket: 'bucket', key: '', options: {} });
    expect(plainS3Uri('bucket', 'a/b/')).toBe('s3://bucket/a/b');
    expect([isS3Uri('s3://x'), isS3Uri('S3:x'), isS3Uri('./s3'), isS3Uri('https://s3')]).toEqual([true, true, false, false]);
  });

  it.each(['s3:/bucket/x', 's3://', 's3://b', 's3://-bucket/x', 's3://bucket//x', 's3://bucket/./x', 's3://bucket/a/..', 's3://bucket/a\0b', 's3://bucket/x?profile=a', 's3://bucket/x?path-style=maybe', 's3://bucket/x?region=a/b', 's3://bucket/x?endpoint=minio:9000'])('%j is refused', (uri) => {
    expect(() => parseS3Uri(uri)).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID' }));
  });
});
