/**
 * RGB pixels to PNG (W3C PNG, third edition): 8 bits, no interlacing, every row by the Paeth filter. Bytes are a function of
 * the pixels: Deflate in its run-length strategy looks for no matches by hash, the step in which builds of zlib differ.
 */
import { promisify } from 'node:util';
import { constants, deflate } from 'node:zlib';

/** @param rgb width × height × 3 bytes, rows top-down */
export async function encodePng(rgb: Uint8Array, width: number, height: number): Promise<Uint8Array> {
  const packed = await deflateAsync(filter(rgb, width, height), { level: 6, memLevel: 9, strategy: constants.Z_RLE });
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, 2, 0, 0, 0], 8); // 8 bits, RGB
  return Buffer.concat([SIGNATURE, chunk('IHDR', header), chunk('IDAT', packed), chunk('IEND', Buffer.alloc(0))]);
}

const deflateAsync = promisify(deflate);
const SIGNATURE = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
const PAETH = 4;

function filter(rgb: Uint8Array, width: number, height: number): Uint8Array {
  const row = width * 3;
  const out = new Uint8Array((row + 1) * height);
  for (let y = 0, to = 0; y < height; y++) {
    out[to++] = PAETH;
    for (let i = 0, at = y * row; i < row; i++, at++) {
      const left = i < 3 ? 0 : rgb[at - 3]!;
      const above = y === 0 ? 0 : rgb[at - row]!;
      const corner = i < 3 || y === 0 ? 0 : rgb[at - row - 3]!;
      const [toLeft, toAbove, toCorner] = [Math.abs(above - corner), Math.abs(left - corner), Math.abs(left + above - 2 * corner)];
      out[to++] = rgb[at]! - (toLeft <= toAbove && toLeft <= toCorner ? left : toAbove <= toCorner ? above : corner);
    }
  }
  return out;
}

function chunk(type: string, data: Uint8Array): Buffer {
  const bytes = Buffer.alloc(data.length + 12);
  bytes.writeUInt32BE(data.length, 0);
  bytes.write(type, 4, 'latin1');
  bytes.set(data, 8);
  bytes.writeUInt32BE(crc(bytes.subarray(4, data.length + 8)), data.length + 8);
  return bytes;
}

function crc(bytes: Uint8Array): number {
  let remainder = 0xffffffff;
  for (let i = 0; i < bytes.length; i++) remainder = CRC_TABLE[(remainder ^ bytes[i]!) & 0xff]! ^ (remainder >>> 8);
  return (remainder ^ 0xffffffff) >>> 0;
}

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let remainder = byte;
  for (let bit = 0; bit < 8; bit++) remainder = remainder & 1 ? 0xedb88320 ^ (remainder >>> 1) : remainder >>> 1;
  return remainder;
});
