/** Lines of text for a terminal or a log file. */

/**
 * Breaks a line at spaces where it is longer than `columns` UTF-16 units; what follows is indented by four more than the line.
 * A word that is longer than a line stays whole.
 */
export function wrapLine(line: string, columns = 80): string[] {
  if (line.length <= columns) return [line];
  const indent = `${/^ */.exec(line)![0]}    `;
  const lines: string[] = [];
  let current = '';
  for (const word of line.trimStart().split(' ')) {
    const start = lines.length === 0 ? indent.slice(4) : indent;
    if (current === '') current = start + word;
    else if (current.length + 1 + word.length <= columns) current += ` ${word}`;
    else {
      lines.push(current.trimEnd());
      current = indent + word;
    }
  }
  return [...lines, current];
}
