/** False of text with lone surrogates, which UTF-8 cannot hold. Declared here because ES2023's types lack it. */
export function isWellFormed(text: string): boolean {
  return (text as unknown as { isWellFormed(): boolean }).isWellFormed();
}
