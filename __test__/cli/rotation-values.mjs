/** What the records of a rotation's test hold. */

/** Which record the write of this number changes: each at most once, in no order. */
export const numberOf = (number, records) => String((number * 7919) % records);

/** A record's value, at first and after the write of a number. */
export const recordValue = (id, number) => ({
  text: `record ${id} ${'x'.repeat(40)}`,
  ...(number !== undefined && { number }),
});
