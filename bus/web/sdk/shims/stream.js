// This file stands for the package readable-stream: the three classes that are used, without pipelines,
// operators and promises.
module.exports = {
  Readable: require("readable-stream/lib/internal/streams/readable"),
  Writable: require("readable-stream/lib/internal/streams/writable"),
  Duplex: require("readable-stream/lib/internal/streams/duplex"),
};
