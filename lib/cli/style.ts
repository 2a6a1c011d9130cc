import { styleText } from 'node:util';

type Format = Parameters<typeof styleText>[0];

/** Formats a text, or leaves it as it is. */
export type Style = (format: Format, text: string) => string;

const plain: Style = (_format, text) => text;

// Asked above: what is a terminal, and whether it has colours. Node before 20.12 has no `styleText`.
const coloured: Style = (format, text) => styleText?.(format, text, { validateStream: false }) ?? text;

/** Colour on a terminal only; `NO_COLOR`, `TERM=dumb` and their like switch it off. */
export function styleFor(stream: NodeJS.WriteStream): Style {
  return stream.isTTY && stream.hasColors() ? coloured : plain;
}
