export function numberOf(number: number, records: number): string;
export function recordValue(id: string, number?: number): { text: string; number?: number };
