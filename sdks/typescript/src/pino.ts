/**
 * What a program logs with pino, as the log of its job.
 *
 *     pino({ transport: { target: 'milepost/pino', options: { job: 'export-7' } } })
 *
 * pino runs it in a worker thread, so that it takes no time of the program's. It is a plain stream too, for a program that wants no
 * thread: `pino(milepostLog({ job: 'export-7' }))`.
 */
import { Writable } from 'node:stream';
import { optionsOf, warnOf } from './argument.js';
import { destinationOf } from './environment.js';
import { isJobId } from './job-id.js';
import { LogSender } from './log-sender.js';

export interface PinoOptions {
  /** The job whose log it is. A record with a field `job`, as of `logger.child({ job: id })`, is of that job instead. */
  job?: string;
  /** Where the server is: `http(s)://…`. If absent, `MILEPOST_URL`; without either, nothing is sent. */
  url?: string;
  /** Sent as `Authorization: Bearer`. If absent, `MILEPOST_TOKEN`. */
  token?: string;
  /** Only records of this level or above: a number of pino's, by default all that pino writes. */
  minLevel?: number;
}

/** The longest that the end of the stream waits for its server, in milliseconds. */
const FLUSH = 2000;
/** A record that does not end is no record; the rest of such a line is dropped. */
const MAX_RECORD = 1 << 20;
const LEVELS: Record<number, string> = { 10: 'TRACE', 20: 'DEBUG', 30: 'INFO', 40: 'WARN', 50: 'ERROR', 60: 'FATAL' };
/** pino's own fields, and that which names the job. */
const OWN = new Set(['level', 'time', 'pid', 'hostname', 'msg', 'job', 'name', 'v']);

/** A stream of pino's records. It never fails and never waits for the server: what does not fit is dropped, and the log says so. */
export function milepostLog(given: PinoOptions = {}): Writable {
  const options = optionsOf<PinoOptions>(given);
  const warn = warnOf(undefined);
  const sender = LogSender.to(destinationOf(options, warn), warn);
  let rest = '';
  const take = (line: string): void => {
    if (!sender) return;
    try {
      const record = read(line, options);
      if (record) sender.write(options, record.job, { text: record.text, at: record.at });
    } catch {
      // Reporting never hurts the job.
    }
  };
  return new Writable({
    decodeStrings: false,
    write(chunk: string | Buffer, _encoding, done) {
      const lines = (rest + String(chunk)).split('\n');
      rest = lines.pop() ?? '';
      if (rest.length > MAX_RECORD) rest = '';
      lines.forEach(take);
      done();
    },
    final(done) {
      if (rest) take(rest);
      void (sender?.flush(options, FLUSH) ?? Promise.resolve()).then(() => done());
    },
  });
}

function read(line: string, { job: usual, minLevel = 0 }: PinoOptions): { job: string; text: string; at: number } | null {
  if (!line.startsWith('{')) return null;
  const record = JSON.parse(line) as Record<string, unknown>;
  const { level, time, msg, err } = record;
  const job = typeof record['job'] === 'string' ? record['job'] : usual === undefined ? undefined : String(usual);
  if (job === undefined || !isJobId(job) || (typeof level === 'number' && level < minLevel)) return null;
  const named = typeof level === 'number' ? (LEVELS[level] ?? `level ${level}`) : String(level ?? 'INFO').toUpperCase();
  const fields = Object.entries(record).filter(([name]) => !OWN.has(name) && name !== 'err');
  const shown = fields.map(([name, value]) => ` ${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`).join('');
  const { stack } = Object(err) as { stack?: unknown };
  const text = `${named} ${typeof msg === 'string' ? msg : ''}${shown}${typeof stack === 'string' ? `\n${stack}` : ''}`;
  return { job, text, at: typeof time === 'number' ? time : Date.parse(String(time)) || Date.now() };
}

export default milepostLog;
