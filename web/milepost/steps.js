// @ts-check
/** The stages that a job declares, as steps. */

import { isEnd } from './state.js';

/**
 * @typedef {object} Step
 * @property {string} id what updates call the stage
 * @property {string} label what people call it
 * @property {'done' | 'now' | 'ahead' | 'skipped'} is `now`: the job is in it, or ended in it
 */

/**
 * The stages that a job declares, in their order; none if it declares none.
 * @param {import('./state.js').State | null} state
 * @returns {Step[]}
 */
export function stepsOf(state) {
  const declared = state?.['stages'];
  if (!state || !Array.isArray(declared)) return [];
  const stages = declared.map((stage) => (typeof stage === 'string' ? { id: stage } : stage));
  // A worker may have a field of its own by this name.
  if (!stages.every((stage) => typeof stage?.id === 'string')) return [];
  const present = stages.findIndex(({ id }) => id === state.stage);
  const isDone = isEnd(state) && state.status === 'completed';
  return stages.map(({ id, label, skipped }, index) => ({
    id,
    label: typeof label === 'string' && label ? label : id,
    is: skipped === true ? 'skipped' : isDone || index < present ? 'done' : index === present ? 'now' : 'ahead',
  }));
}

/**
 * What people call the stage that the job is in.
 * @param {import('./state.js').State | null} state
 * @returns {string}
 */
export function stageLabel(state) {
  const { stage } = state ?? {};
  return stepsOf(state).find(({ id }) => id === stage)?.label ?? (typeof stage === 'string' ? stage : '');
}
