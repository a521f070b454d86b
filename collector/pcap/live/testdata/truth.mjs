// Servers and clients of Node, HTTP/1 and HTTP/2. Each request that a server answers
// is a line of JSON on standard output: what the packets are to show.
import http from 'node:http'
import http2 from 'node:http2'
import net from 'node:net'

const cancel = http2.constants.NGHTTP2_CANCEL
const refused = http2.constants.NGHTTP2_REFUSED_STREAM
const log = (Method, Path, Status, Authorization, more = {}) =>
  process.stdout.write(JSON.stringify({ Method, Path, Status, Authorization: Authorization ?? '', GRPC: -1, ...more }) + '\n')
const wait = (ms) => new Promise((done) => setTimeout(done, ms))
const listening = (server) => new Promise((done) => server.listen(0, '127.0.0.1', () => done(server.address().port)))
const statuses = [200, 201, 403, 404, 500, 302, 401, 429]

// HTTP/1

const handle1 = (req, res) => {
  const [, kind, status] = req.url.split('/')
  req.on('error', () => {})
  req.resume()
  req.on('end', () => {
    log(req.method, req.url, +status, req.headers.authorization)
    res.statusCode = +status
    switch (kind) {
      case 'chunks':
        for (let i = 0; i < 4; i++) res.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')
        res.addTrailers({ 'x-sum': '1' })
        return res.end()
      case 'big':
        return res.end(Buffer.alloc(700_000, 'x'))
      case 'hints':
        res.writeProcessing()
        return res.writeEarlyHints({ link: '</a.css>; rel=preload' }, () => res.end('hinted'))
      case 'close':
        res.setHeader('Connection', 'close')
        res.useChunkedEncodingByDefault = false
        res.removeHeader('Transfer-Encoding')
        return res.end('until the end')
      default:
        return res.end('y'.repeat(2000))
    }
  })
}

const once1 = (port, agent, method, path, headers, body) => new Promise((done, fail) => {
  const req = http.request({ host: '127.0.0.1', port, agent, method, path, headers }, (res) => {
    res.resume()
    res.on('end', done)
    res.on('error', done)
  })
  req.on('error', fail)
  if (Array.isArray(body)) {
    for (const part of body) req.write(part)
    req.end()
  } else if (headers.Expect) {
    req.on('continue', () => req.end(body))
    req.flushHeaders()
  } else {
    req.end(body)
  }
})

// pipelined sends all requests before it reads an answer.
const pipelined = (port, name) => new Promise((done, fail) => {
  const socket = net.connect(port, '127.0.0.1')
  let text = ''
  for (let i = 0; i < 12; i++) {
    const body = i % 3 === 1 ? 'GET /forged HTTP/1.1\r\n\r\n' : ''
    const method = ['GET', 'POST', 'HEAD'][i % 3]
    text += `${method} /plain/${statuses[i % 8]}/${name}/${i} HTTP/1.1\r\nhost: a\r\nAUTHORIZATION:\tBearer fake-${i % 5}  \r\n` +
      (i === 11 ? 'Connection: close\r\n' : '') + `Content-Length: ${body.length}\r\n\r\n${body}`
  }
  socket.on('error', fail)
  socket.on('end', done)
  socket.resume()
  socket.write(text.slice(0, 700))
  setTimeout(() => socket.write(text.slice(700)), 5)
})

const upgrade1 = (port) => new Promise((done, fail) => {
  const req = http.request({ host: '127.0.0.1', port, path: '/upgrade/101/n', headers: { Connection: 'Upgrade', Upgrade: 'websocket', Authorization: 'Bearer fake-ws' } })
  req.on('error', fail)
  req.on('upgrade', (_, socket) => {
    socket.on('close', done)
    socket.resume()
    socket.end('GET /forged HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer fake-forged\r\n\r\n')
  })
  req.end()
})

async function version1() {
  // On a machine with other work, pauses may be long.
  const server = http.createServer({ keepAliveTimeout: 60_000 }, handle1)
  server.on('upgrade', (req, socket) => {
    log('GET', req.url, 101, req.headers.authorization)
    socket.on('error', () => {})
    socket.end('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n\x81\x05hello')
  })
  const port = await listening(server)
  const lane = async (name) => {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 2 })
    for (let i = 0; i < 12; i++) {
      const at = (kind, n) => `/${kind}/${statuses[(i + n) % 8]}/${name}/${i}`
      const who = { Authorization: `Bearer fake-${name}-${i % 3}` }
      await Promise.all([
        once1(port, agent, 'GET', at('plain', 0), who),
        once1(port, agent, 'HEAD', at('head', 1), who),
        once1(port, agent, 'POST', at('chunks', 2), { ...who, 'Transfer-Encoding': 'chunked' }, ['abc', 'x'.repeat(70_000)]),
        once1(port, agent, 'PUT', at('big', 3), { ...who, 'Content-Length': 200_000 }, Buffer.alloc(200_000, 'z')),
        once1(port, agent, 'POST', at('continue', 4), { ...who, Expect: '100-continue', 'Content-Length': 4 }, 'wait'),
        once1(port, agent, 'GET', at('hints', 5), {}),
        once1(port, agent, 'DELETE', `/none/204/${name}/${i}`, who),
        once1(port, agent, 'GET', `/same/304/${name}/${i}`, who),
        once1(port, agent, 'GET', at('close', 0), who),
      ])
    }
    agent.destroy()
  }
  await Promise.all([lane('a'), lane('b'), pipelined(port, 'p'), pipelined(port, 'q'), upgrade1(port)])
  server.closeAllConnections()
  server.close()
}

// HTTP/2

const handle2 = (stream, headers) => {
  const method = headers[':method'], path = headers[':path'], auth = headers.authorization
  const [, kind, status] = path.split('/')
  stream.on('error', () => {})
  if (kind === 'cancelled') return log(method, path, 200, auth, { Cut: true })
  if (kind === 'refused') {
    log(method, path, 0, auth, { Cut: true })
    return stream.close(refused)
  }
  if (kind === 'socket') {
    log(method, path, 200, auth)
    stream.respond({ ':status': 200 })
    return stream.pipe(stream)
  }
  stream.resume()
  stream.on('end', () => {
    if (kind === 'grpc.Truth') {
      const code = +path.match(/M(\d+)n/)[1]
      log(method, path, 200, auth, { GRPC: code })
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true })
      stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': String(code), 'grpc-message': 'made up' }))
      return stream.end(Buffer.alloc(300))
    }
    log(method, path, +status, auth)
    if (kind === 'push' && stream.pushAllowed) {
      stream.pushStream({ ':path': '/pushed/' + path.length, authorization: 'Bearer fake-pushed' }, (err, pushed) => {
        if (err) return
        pushed.on('error', () => {})
        pushed.respond({ ':status': 200 })
        pushed.end('pushed')
      })
    }
    if (kind === 'hints') stream.additionalHeaders({ ':status': 103, link: '</a.css>' })
    if (kind === 'cookies') headers['set-cookie'] = ['a=1', 'b=2']
    const answer = { ':status': +status, 'x-any': 'value-' + (path.length % 7) }
    if (kind === 'large') answer['x-large'] = 'head '.repeat(9000)
    stream.respond(answer)
    stream.end(kind === 'big' ? Buffer.alloc(500_000, 'x') : 'y'.repeat(1500))
  })
}

const once2 = (session, headers, body, options = {}) => new Promise((done) => {
  const stream = session.request(headers, options)
  stream.on('close', done)
  stream.on('error', () => {})
  stream.resume()
  if (headers[':method'] !== 'CONNECT') stream.end(body)
  else {
    stream.on('response', () => stream.end('GET /forged HTTP/1.1\r\n\r\n'))
  }
  if (options.cancel) setTimeout(() => stream.close(cancel), 10)
})

async function session2(port, name, settings, secret) {
  const session = http2.connect(`http://127.0.0.1:${port}`, { settings, maxSendHeaderBlockLength: 1 << 20, maxHeaderListPairs: 4096 })
  session.on('error', () => {})
  session.on('stream', (pushed) => { pushed.on('error', () => {}); pushed.resume() })
  await new Promise((done) => session.once('remoteSettings', done))
  const all = []
  for (let i = 0; i < 12; i++) {
    const at = (kind, n) => `/${kind}/${statuses[(i + n) % 8]}/${name}/${i}`
    const who = (n) => {
      const headers = { authorization: `Bearer fake-${name}-${(i + n) % 6}`, cookie: ['a=1', 'theme=dark', 'b=' + n], 'x-own': 'value ' + i }
      if (secret) headers[http2.sensitiveHeaders] = ['authorization']
      return headers
    }
    all.push(
      once2(session, { ':path': at('plain', 0), ...who(0) }),
      once2(session, { ':method': 'POST', ':path': at('big', 1), ...who(1) }, Buffer.alloc(100_000, 'z')),
      once2(session, { ':method': 'HEAD', ':path': at('head', 2), ...who(2) }, undefined, { endStream: true }),
      once2(session, { ':path': at('push', 3), ...who(3) }),
      once2(session, { ':path': at('hints', 4), ...who(4) }),
      once2(session, { ':path': at('large', 5), ...who(5), 'x-large': 'more '.repeat(8000) }),
      once2(session, { ':path': at('anonymous', 6) }),
      once2(session, { ':path': `/cancelled/200/${name}/${i}`, ...who(1) }, undefined, { cancel: true }),
      once2(session, { ':path': `/refused/0/${name}/${i}`, ...who(1) }),
      once2(session, { ':path': at('weighed', 7), ...who(2) }, undefined, { weight: 1 + i, exclusive: i % 2 === 0 }),
      once2(session, { ':method': 'POST', ':path': `/grpc.Truth/M${i}n${name}`, ...who(3), 'content-type': 'application/grpc', te: 'trailers' }, Buffer.alloc(200)),
      once2(session, { ':method': 'CONNECT', ':protocol': 'websocket', ':path': `/socket/200/${name}/${i}`, ':authority': 'a', ':scheme': 'http', ...who(4) }),
    )
    for (let n = 0; n < 20; n++) session.ping(() => {})
    if (i % 3 === 1) session.settings({ headerTableSize: [0, 4096, 65_536, 100][i / 3 & 3], initialWindowSize: 65_535 + i })
    if (i % 2 === 1) await wait(3)
    if (i % 4 === 3) await Promise.all(all.splice(0))
  }
  await Promise.all(all)
  await new Promise((done) => session.close(done))
}

async function version2() {
  const server = http2.createServer({ maxHeaderListPairs: 4096, maxSendHeaderBlockLength: 1 << 20, settings: { headerTableSize: 8192, maxHeaderListSize: 1 << 20, enableConnectProtocol: true }, maxSessionInvalidFrames: 1e6 })
  server.on('stream', handle2)
  server.on('sessionError', () => {})
  server.on('session', (session) => {
    let n = 0
    const timer = setInterval(() => { if (!session.destroyed) session.settings({ headerTableSize: [0, 65_536, 4096][n++ % 3] }) }, 7)
    session.on('close', () => clearInterval(timer))
  })
  const port = await listening(server)
  const big = { maxHeaderListSize: 1 << 20 }
  await Promise.all([
    session2(port, 'h', { ...big, enablePush: true }, false),
    session2(port, 'i', { ...big, enablePush: true, headerTableSize: 0 }, false),
    session2(port, 'j', { ...big, enablePush: false, headerTableSize: 65_536 }, true),
    session2(port, 'k', { ...big, initialWindowSize: 2000, maxFrameSize: 1 << 20 }, true),
  ])
  server.close()
}

await Promise.all([version1(), version2()])
await wait(50)
process.exit(0)
