// Rendered on the server. The hooks and the element are for the client, which the package says itself.
import type { State } from 'milepost';
import { Export } from './export';

const initial = { job_id: 'export-7', status: 'processing', stage: 'writing', progress: 0.62, timestamp: '2026-01-01T00:00:00Z', attempt: 1, position: '1-1' } satisfies State;

export default function Page() {
  return <Export id="export-7" initial={initial} />;
}
