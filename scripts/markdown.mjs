/** Code blocks of a Markdown file, with the nearest heading above and the line they begin on. */
export function codeBlocks(text) {
  const blocks = [];
  let heading = '';
  let open;
  for (const [index, line] of text.split('\n').entries()) {
    const fence = /^\s*```(\w*)/.exec(line);
    if (fence !== null) {
      if (open === undefined) open = { heading, language: fence[1], line: index + 1, code: '' };
      else {
        blocks.push(open);
        open = undefined;
      }
    } else if (open !== undefined) open.code += `${line}\n`;
    else heading = /^#+ (.+)$/.exec(line)?.[1] ?? heading;
  }
  return blocks;
}
