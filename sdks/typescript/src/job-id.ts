/** Job ids: section 1 of the protocol. */

const JOB_ID = /^(?!\.{1,2}$)[\w.~:@-]{1,128}$/;

export function isJobId(text: string): boolean {
  return JOB_ID.test(text);
}

/** What is wrong with what is no job id, for people. */
export function whyNoJobId(text: string): string {
  const [refused] = /[^\w.~:@-]/u.exec(text) ?? [];
  if (refused !== undefined) return `'${refused}' is not allowed in a job id; allowed are A-Z a-z 0-9 - . _ ~ : @`;
  return text === '.' || text === '..' ? `'${text}' is no job id, because it means a folder in a URL` : `a job id has 1 to 128 characters, not ${text.length}`;
}

/** A unique id that begins with the name. */
export function makeJobId(name: string): string {
  const slug = name.slice(0, 80).replace(/[^\w.~:@-]/g, '-');
  return slug ? `${slug}-${crypto.randomUUID()}` : crypto.randomUUID();
}
