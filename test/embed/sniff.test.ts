import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { IMAGE_FORMATS, isDecodable, sniffFormat } from '../../src/embed/sniff.ts';
import { picture, tiff, tiffTags, toSharp } from '../fixtures/images.ts';
import { startCpuTimer } from '../helpers/cpu-time.ts';

const text = (value: string): Buffer => Buffer.from(value, 'latin1');

describe('sniffFormat', () => {
  it('knows every allowed format by what sharp writes', async () => {
    const image = toSharp(picture(16, 16));
    expect(sniffFormat(await image.clone().jpeg().toBuffer())).toBe('jpeg');
    expect(sniffFormat(await image.clone().png().toBuffer())).toBe('png');
    expect(sniffFormat(await image.clone().gif().toBuffer())).toBe('gif');
    expect(sniffFormat(await image.clone().webp().toBuffer())).toBe('webp');
    expect(sniffFormat(await image.clone().tiff().toBuffer())).toBe('tiff');
    expect(sniffFormat(await image.clone().tiff({ bigtiff: true }).toBuffer())).toBe('tiff');
    expect(sniffFormat(await image.clone().avif({ effort: 0 }).toBuffer())).toBe('avif');
    expect(sniffFormat(tiff(new Uint8Array(4), 2, 2, tiffTags(1, 8, 1)))).toBe('tiff');
  });

  it.each([
    ['<svg xmlns="http://www.w3.org/2000/svg"/>', 'svg'],
    ['\xef\xbb\xbf<?xml version="1.0"?>\n<!-- drawn <svg> by hand -->\n<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "x.dtd" [<!ENTITY a "b">]>\n<svg:svg width="1">', 'svg'],
    ['<!DOCTYPE html><html><body><svg width="9" height="9"></svg></body></html>', 'not-an-image'],
    ['<html><head><title>404</title></head></html>', 'not-an-image'],
    ['%PDF-1.7\n', 'pdf'],
    ['%!PS-Adobe-3.0 EPSF-3.0', 'postscript'],
    ['\0\0\0\x20ftypheic\0\0\0\0mif1heic', 'heic'],
    ['\0\0\0\x1cftypmif1\0\0\0\0mif1avif', 'avif'],
    ['\0\0\0\x18ftypmif1\0\0\0\0mif1miaf', 'heic'],
    ['\0\0\0\x18ftypmp42\0\0\0\0isommp42', 'video'],
    ['\x1aE\xdf\xa3\x01\0\0\0', 'video'],
    ['RIFF\x10\0\0\0AVI LIST', 'video'],
    ['RIFF\x10\0\0\0WAVEfmt ', 'not-an-image'],
    ['\0\0\0\x0cjP  \r\n\x87\n', 'jp2'],
    ['\0\0\0\x0cJXL \r\n\x87\n', 'jxl'],
    ['\xff\n\x00', 'jxl'],
    ['8BPS\0\x01', 'psd'],
    ['BM\x36\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0', 'bmp'],
    ['BMW is a maker of cars and of motorcycles', 'not-an-image'],
    ['P6\n2 2\n255\n', 'pnm'],
    ['P6 is a chip of 1995', 'pnm'],
    ['Photographs', 'not-an-image'],
    ['\0\0\x01\0\x01\0', 'ico'],
    ['SIMPLE  =                    T', 'fits'],
    ['v/1\x01\x02\0\0\0', 'exr'],
    ['\x89HDF\r\n\x1a\n', 'hdf5'],
    ['PK\x03\x04', 'not-an-image'],
    ['version https://git-lfs.github.com/spec/v1\n', 'not-an-image'],
    ['\x89PNG\n\x1a\n\0\0\0\0', 'not-an-image'], // line ends mangled in transfer: libvips would not know it either
    ['\xff\xd8', 'jpeg'],
    ['GIF88a', 'not-an-image'],
  ])('%j is %s', (content, kind) => {
    expect(sniffFormat(text(content))).toBe(kind);
  });

  it('tells empty from not an image', () => {
    expect(sniffFormat(new Uint8Array(0))).toBe('empty');
    expect(sniffFormat(new Uint8Array(65536))).toBe('not-an-image');
    expect(sniffFormat(Buffer.concat([Buffer.alloc(128), text('DICM')]))).toBe('dicom');
  });

  it('answers for any bytes, and by the first 4 KB alone', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), fc.uint8Array({ maxLength: 8 }), (start, tail) => {
        const kind = sniffFormat(start);
        const long = Buffer.concat([start, Buffer.alloc(4096 - start.length, 32)]);
        expect(sniffFormat(Buffer.concat([long, tail]))).toBe(sniffFormat(long));
        expect(isDecodable(kind)).toBe((IMAGE_FORMATS as readonly string[]).includes(kind));
      }),
    );
  });

  it('is quick on hostile text', () => {
    const cpuMs = startCpuTimer();
    for (const part of ['<!--', '<?', ' ', '<!DOCTYPE [', '<!DOCTYPE x>']) sniffFormat(text(part.repeat(4096)));
    expect(cpuMs()).toBeLessThan(200);
  });
});
