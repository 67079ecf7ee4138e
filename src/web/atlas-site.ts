/** The noun of the atlas's pages: what every route of it shares. */
import type { Atlas, NodeName } from './atlas.ts';
import type { Draft } from './draft.ts';
import type { MapPoint } from './map.ts';
import type { QueryEncoder } from './query-encoder.ts';
import type { Representatives } from './representatives.ts';
import type { Section } from './route.ts';
import type { TextQuery } from './text-query.ts';
import type { Thumbnails } from './thumbnails.ts';

/** Where the atlas lies on its server. */
export const ATLAS_PATH = '/atlas';

export interface AtlasSite {
  readonly atlas: Atlas;
  readonly draft: Draft;
  readonly representatives: Representatives;
  readonly thumbnails: Thumbnails;
  readonly map: readonly MapPoint[];
  /** Null: a picture cannot be searched by, and `whyNoQuery` says why. */
  readonly query: QueryEncoder | null;
  readonly whyNoQuery: string;
  /** Null: no text tower of the model is known. */
  readonly text: TextQuery | null;
  /** Of the whole site, for the navigation. */
  readonly sections: readonly Pick<Section, 'title' | 'path'>[];
}

/** Path of a node's page. */
export function nodePath({ level, cluster }: NodeName): string {
  return `${ATLAS_PATH}/node/${level}/${cluster}`;
}

/** Path of an image's page. */
export function imagePath(row: number): string {
  return `${ATLAS_PATH}/image/${row}`;
}

/** Path of a thumbnail; it holds the listing's hash, so that a browser may keep it for good. */
export function thumbnailPath({ manifests }: Atlas, row: number, side: number): string {
  return `${ATLAS_PATH}/thumb/${manifests.images.sha256.slice(0, 12)}/${row}/${side}`;
}
