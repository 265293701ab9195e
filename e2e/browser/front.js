// @ts-check
/**
 * What stands before the server: it has the tests' own pages at the server's origin, passes everything else on, and
 * fails on command, as networks and proxies do.
 */
import { readFileSync } from 'node:fs';
import { createServer, request } from 'node:http';
import { connect } from 'node:net';

/** Instead of those in the binary, while one works on them. */
const FILES = process.env['WEB_FILES'];

export class Front {
  /** By path. @type {Map<string, string>} */
  pages = new Map();
  /** By path. @type {Map<string, string>} */
  scripts = new Map();
  /** What is not let through. @type {RegExp | null} */
  blocked = null;
  isCut = false;
  port = 0;
  #http = createServer((incoming, outgoing) => this.#pass(incoming, outgoing));
  /** @type {Set<import('node:net').Socket>} */
  #sockets = new Set();

  /** @param {{ port: number }} server */
  constructor(server) {
    this.server = server;
    this.#http.on('connection', (socket) => this.#keep(socket));
    this.#http.on('upgrade', (incoming, socket, head) => {
      if (this.blocked?.test(incoming.url ?? '')) return void socket.end('HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n');
      const upstream = this.#keep(connect(this.server.port, '127.0.0.1'));
      const headers = incoming.rawHeaders.map((text, n) => (n % 2 ? `${text}\r\n` : `${text}: `)).join('');
      upstream.write(`GET ${incoming.url} HTTP/1.1\r\n${headers}\r\n`);
      upstream.write(head);
      upstream.pipe(socket).pipe(upstream);
    });
  }

  get url() {
    return `http://127.0.0.1:${this.port}`;
  }

  /** @returns {Promise<void>} */
  listen() {
    return new Promise((resolve) => {
      this.#http.listen(0, '127.0.0.1', () => {
        const address = this.#http.address();
        this.port = typeof address === 'object' && address ? address.port : 0;
        resolve();
      });
    });
  }

  /** Every connection is lost, and none can be made until `mend`. */
  cut() {
    this.isCut = true;
    for (const socket of this.#sockets) socket.destroy();
  }

  mend() {
    this.isCut = false;
  }

  /**
   * @param {RegExp} path what is not let through from now on
   */
  block(path) {
    this.blocked = path;
    for (const socket of this.#sockets) socket.destroy();
  }

  close() {
    this.cut();
    this.#http.close();
  }

  /**
   * @template {import('node:net').Socket} S
   * @param {S} socket
   */
  #keep(socket) {
    if (this.isCut) socket.destroy();
    this.#sockets.add(socket);
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.#sockets.delete(socket));
    return socket;
  }

  /**
   * @param {import('node:http').IncomingMessage} incoming
   * @param {import('node:http').ServerResponse} outgoing
   */
  #pass(incoming, outgoing) {
    const path = incoming.url ?? '/';
    const page = this.pages.get(path);
    const script = this.scripts.get(path);
    if (this.blocked?.test(path)) return void outgoing.writeHead(502).end();
    if (page !== undefined) {
      return void outgoing.writeHead(200, { 'content-type': 'text/html; charset=utf-8' }).end(page);
    }
    if (script !== undefined) {
      return void outgoing.writeHead(200, { 'content-type': 'text/javascript' }).end(script);
    }
    if (FILES && /^\/[\w-]+\.js$/.test(path)) {
      return void outgoing.writeHead(200, { 'content-type': 'text/javascript' }).end(readFileSync(FILES + path.replace('/job-progress.js', '/job-progress.min.js')));
    }
    const { method, headers } = incoming;
    const upstream = request({ port: this.server.port, host: '127.0.0.1', path, method, headers }, (answer) => {
      outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(outgoing);
    });
    upstream.on('error', () => outgoing.destroy());
    outgoing.on('close', () => upstream.destroy());
    incoming.pipe(upstream);
  }
}
