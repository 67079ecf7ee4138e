/** What stands for an image that cannot be shown: a cross on grey. */
export const NO_PICTURE = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 96 96"><rect width="96" height="96" fill="#8a919c"/><path d="M36 36l24 24m0-24l-24 24" stroke="#fff" stroke-width="5" stroke-linecap="round"/></svg>';
