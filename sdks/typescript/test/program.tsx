// Compiled by types.test.js, never run: everything that a program may import, used as its types say.
import { type State, isEnd, watch } from 'milepost';
import 'milepost/job-progress';
import type { JobProgress } from 'milepost/job-progress';
import { notifyOnEnd } from 'milepost/notify';
import { useJob, useJobs } from 'milepost/react';
import { useJob as useSolidJob } from 'milepost/solid';
import { useJob as useSvelteJob } from 'milepost/svelte';
import { TestServer } from 'milepost/testing';
import { useJob as useVueJob } from 'milepost/vue';
import { job } from 'milepost/reporter';

interface Rows {
  rows: number;
}
interface File {
  file: string;
}

export function file(state: State<Rows, File>): string {
  const rows: number | undefined = state.metadata?.rows;
  switch (state.status) {
    case 'completed':
      return state.result?.file ?? String(rows);
    case 'failed':
      return state.error ?? '';
    case 'cancelled':
    case 'queued':
    case 'processing':
      return state.stage;
    default: {
      const never: never = state;
      return never;
    }
  }
}

export async function follow(): Promise<void> {
  const watching = watch<Rows, File>('export-7', { onEnd: (state) => console.log(isEnd(state)) });
  const left: number | null = watching.timeLeft;
  for await (const state of watching) console.log(left, watching.health === 'lost', file(state));
  await job('export', { id: 'export-7' }, async (j) => {
    j.progress = 0.5;
    return { file: 'a.csv' };
  });
}

export function listen(): void {
  const element: JobProgress | null = document.querySelector('job-progress');
  element?.addEventListener('job-end', ({ detail }) => console.log(detail.status === 'failed' && detail.error));
  element?.addEventListener('job-connection', ({ detail }) => console.log(detail === 'offline'));
  element?.addEventListener('click', ({ clientX }) => console.log(clientX));
}

export function Export({ id }: { id: string }) {
  const { state, health, error } = useJob<Rows, File>(id, { onEnd: (end) => console.log(file(end)) });
  return (
    <section>
      <job-progress job={id} errors="full" max-rate={5} className="bar" />
      {/* @ts-expect-error: no such way to show errors */}
      <job-progress job={id} errors="some" />
      <p>{error?.message ?? (state ? file(state) : health)}</p>
    </section>
  );
}

export function others(initial: State<Rows, File>): number {
  const vue = useVueJob<Rows, File>(() => initial.job_id, { initial });
  const svelte = useSvelteJob<Rows, File>(() => initial.job_id);
  const solid = useSolidJob<Rows, File>(initial.job_id);
  const jobs = [vue.value, svelte.current, solid(), ...useJobs<Rows, File>({ tag: 'nightly' }).values()];
  // @ts-expect-error: nothing selects by colour
  useJobs({ colour: 'red' });
  return jobs.filter(({ state, isStalled, timeLeft }) => state && file(state) && !isStalled && timeLeft !== null).length;
}

export const ask = (): Promise<boolean> => notifyOnEnd('export-7', { url: 'http://localhost:8084' });

export const script = (): Promise<void> => new TestServer().play('export-7', [{ report: { progress: 0.5 } }, { after: 10, stall: 'lost' }, { fail: 'no' }]);
