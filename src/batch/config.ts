/** Settings of the batch stage. */
import { z } from 'zod';

export const BatchConfig = z.strictObject({
  size: z.int().min(1).max(1_048_576).default(64).describe('Images of the global batch, over all ranks. The paper: 4096.'),
});
export type BatchConfig = z.infer<typeof BatchConfig>;
