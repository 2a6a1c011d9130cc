/** By value as JSON has it, so that messages of protobuf are compared with what was read of them. */
export const plain = (value: unknown): unknown =>
  JSON.parse(
    JSON.stringify(value, (_, inner) =>
      inner?.type === 'Buffer' ? { type: 'Buffer', data: Buffer.from(inner.data).toString('base64') } : inner,
    ),
  );
