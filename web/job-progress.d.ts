// The types of the bundle are those of its sources.
export * from './job-progress/index.js';
