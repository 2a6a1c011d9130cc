import { coreThread } from './native/thread.js';

/** Metrics of this process, over all its stores, as Prometheus text. */
export async function getMetricsText(): Promise<string> {
  return coreThread().core.metricsText();
}

/** What a scraper needs: the metrics as text and their content type. */
export const metricsRegistry = {
  contentType: 'text/plain; version=0.0.4; charset=utf-8',
  metrics: getMetricsText,
};
