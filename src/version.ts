/** What `createdBy` says in every manifest: the package and its version. Raised when a release gives other bytes. */
export const VERSION = '0.1.0';
export const CREATED_BY = `winnow ${VERSION}`;
