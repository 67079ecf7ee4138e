/** Real images and a real model for evaluation lie beside the checkout, when they are there at all. */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

export const sharedData = fileURLToPath(new URL('../../../shared/data', import.meta.url));

/** Why a test that needs the shared data is skipped, or null when the folder is there. */
export function withoutSharedData(): string | null {
  return existsSync(`${sharedData}/README.md`) ? null : `no real images at ${sharedData}: skipped`;
}
