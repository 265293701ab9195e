
// Written by hand, after the types generated from web/job-progress/.

/** The attributes of `<job-progress>`. */
export interface JobProgressAttributes {
  /** The job's id. */
  job?: string;
  /** Where the server is; if absent, where the page comes from. */
  url?: string;
  /** A function has to be set as a property, as React 19 does. */
  token?: import('../milepost.js').Token;
  /** The bar's name for those who hear it; by default the job's id. */
  label?: string;
  /** Updates a second, 20 by default. */
  'max-rate'?: number | string;
  /** What is shown of a failure; `summary` by default. */
  errors?: 'summary' | 'full' | 'hidden';
  /** One line: stage, bar, percentage and what is wrong. */
  compact?: boolean | '';
  /** Shows the stages that the job declares as steps. */
  stages?: boolean | '';
}

/** The events of `<job-progress>`. They bubble, out of shadow trees too. */
export interface JobProgressEventMap {
  'job-state': CustomEvent<State>;
  'job-end': CustomEvent<State>;
  'job-connection': CustomEvent<import('../milepost.js').Connection>;
}

export interface JobProgress {
  addEventListener<K extends keyof JobProgressEventMap>(type: K, listener: (this: JobProgress, event: JobProgressEventMap[K]) => unknown, options?: boolean | AddEventListenerOptions): void;
  addEventListener<K extends keyof HTMLElementEventMap>(type: K, listener: (this: HTMLElement, event: HTMLElementEventMap[K]) => unknown, options?: boolean | AddEventListenerOptions): void;
  addEventListener(type: string, listener: EventListenerOrEventListenerObject, options?: boolean | AddEventListenerOptions): void;
  removeEventListener<K extends keyof JobProgressEventMap>(type: K, listener: (this: JobProgress, event: JobProgressEventMap[K]) => unknown, options?: boolean | EventListenerOptions): void;
  removeEventListener<K extends keyof HTMLElementEventMap>(type: K, listener: (this: HTMLElement, event: HTMLElementEventMap[K]) => unknown, options?: boolean | EventListenerOptions): void;
  removeEventListener(type: string, listener: EventListenerOrEventListenerObject, options?: boolean | EventListenerOptions): void;
}

declare global {
  interface HTMLElementTagNameMap {
    'job-progress': JobProgress;
  }
}
