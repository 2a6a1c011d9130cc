declare module 'qrcode-terminal' {
  /** Prints a QR code to the terminal. */
  export function generate(text: string, options: { small: boolean }): void;
}
