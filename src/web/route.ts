/** The nouns of the pages' server: a route is a pure function of a request, and knows nothing of the server's library. */

export interface WebRequest {
  /** Named segments of the path. */
  readonly params: Readonly<Record<string, string>>;
  readonly query: Readonly<Record<string, string>>;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  /** Empty for GET. */
  readonly body: Uint8Array;
  /** Aborted when the client goes away. */
  readonly signal: AbortSignal;
}

/** A server-sent event. */
export interface WebEvent {
  readonly id: string;
  readonly event: string;
  /** Any text; lines are kept. */
  readonly data: string;
}

export type WebReply =
  | { readonly html: string; readonly status?: number }
  | { readonly type: string; readonly bytes: Uint8Array | string; readonly headers?: Readonly<Record<string, string>> }
  /** A path of this server. */
  | { readonly redirect: string; readonly headers?: Readonly<Record<string, string>> }
  /** Sent as they come, until they end or the client goes. */
  | { readonly events: AsyncIterable<WebEvent> };

export interface Route {
  readonly method: 'GET' | 'POST';
  /** Such as `/atlas/:level/:cluster`. */
  readonly path: string;
  /** Bytes of a body; default 64 KiB. */
  readonly bodyBytesMax?: number;
  handle(request: WebRequest): Promise<WebReply> | WebReply;
}

/** A part of the site: its routes, and where the navigation leads. */
export interface Section {
  /** In the navigation; null: not there. */
  readonly title: string | null;
  readonly path: string;
  readonly routes: readonly Route[];
}
