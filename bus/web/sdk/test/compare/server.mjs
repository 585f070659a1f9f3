// This file is the Socket.IO server of the comparison: what is published to it is emitted to the topic's room,
// with connection state recovery on. It is a process of its own, so that it can be killed.

import http from "node:http";
import { Server } from "socket.io";

const server = http.createServer((_req, res) => res.end("ok"));
const io = new Server(server, { connectionStateRecovery: { maxDisconnectionDuration: 2 * 60 * 1000, skipMiddlewares: true } });
io.on("connection", (socket) => {
  if (socket.handshake.auth.topic && !socket.recovered) socket.join(socket.handshake.auth.topic);
  socket.on("publish", (topic, value, done) => {
    io.to(topic).emit("event", value);
    done();
  });
});
server.listen(Number(process.argv[2]), "127.0.0.1");
