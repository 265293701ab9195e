// @ts-check
/** How a page shows a job, in each framework: to be copied. */

/**
 * By the name of the way.
 * @param {string} server its address
 * @returns {Record<string, string>}
 */
export function snippets(server) {
  return {
    HTML: `<script type="module" src="${server}/job-progress.js"></script>
<job-progress job="export-7" url="${server}"></job-progress>
`,
    JavaScript: `import { watch } from '${server}/milepost.js';

for await (const state of watch('export-7', { url: '${server}' })) {
  console.log(state.status, state.stage, state.progress);
}
`,
    React: `// npm install milepost
import { useJob } from 'milepost/react';

export function Job({ id }) {
  const { state, connection } = useJob(id, { url: '${server}' });
  return <progress value={state?.progress ?? undefined} title={connection}>{state?.stage}</progress>;
}
`,
    'Component in React': `// npm install milepost
'use client';
import 'milepost/job-progress';

export const Job = ({ id }) => <job-progress job={id} url="${server}" stages />;
`,
    Vue: `<!-- npm install milepost -->
<script setup>
import { useJob } from 'milepost/vue';

const props = defineProps({ id: { type: String, required: true } });
const job = useJob(() => props.id, { url: '${server}' });
</script>

<template>
  <progress :value="job.state?.progress ?? undefined">{{ job.state?.stage }}</progress>
</template>
`,
    Svelte: `<!-- npm install milepost -->
<script>
  import { useJob } from 'milepost/svelte';

  let { id } = $props();
  const job = useJob(() => id, { url: '${server}' });
  const state = $derived(job.current.state);
</script>

{#if state?.progress == null}<progress></progress>{:else}<progress value={state.progress}></progress>{/if}
`,
    Solid: `// npm install milepost
import { useJob } from 'milepost/solid';

export default function Job(props) {
  const job = useJob(() => props.id, { url: '${server}' });
  return <progress attr:value={job().state?.progress ?? undefined} />;
}
`,
  };
}
