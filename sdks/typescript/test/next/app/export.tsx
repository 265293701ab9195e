'use client';

import 'milepost/job-progress';
import type { State } from 'milepost';
import { useJob } from 'milepost/react';

interface Rows {
  rows: number;
}
interface File {
  file: string;
}

export function Export({ id, initial }: { id: string; initial: State<Rows, File> }) {
  const { state, connection } = useJob<Rows, File>(id, { initial });
  return (
    <main>
      <p>
        {state?.stage} at {Math.round((state?.progress ?? 0) * 100)} ({connection})
      </p>
      <p>{state?.status === 'completed' && state.result?.file}</p>
      <job-progress job={id} errors="full" />
    </main>
  );
}
