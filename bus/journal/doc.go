// Package journal is the append-only log below the bus, and the snapshots of the small state that
// is folded from it.
//
// What it promises:
//
//   - Append gives a Commit, which completes when the record is on disk (fdatasync) or has failed, and
//     then carries its sequence. One sync covers every record of a group; sequences of durable
//     records only rise, and a reader sees a record only when it is durable.
//   - After a crash every record that was reported durable is present, in order. A torn tail, of which
//     nothing was acknowledged, is removed. A damaged record is reported, counted and skipped; its
//     neighbours are kept.
//   - Files that are missing, emptied, cut or misnamed are found: Holes lists the sequences that were
//     durable and are gone, and a Reader reports them. A file that does not fit is renamed and kept;
//     only what retention passed, or what is empty, is deleted.
//   - A record is reported durable only if, after its sync, the file is still the one that its name leads
//     to. While files are removed, moved or replaced under the open journal, Append fails and says so.
//   - When the disk is full or fails, Append fails and says why; readers continue. The journal retries
//     once a second in a new segment and recovers by itself.
//   - Memory is bounded: the newest few MiB are cached, the rest is read from disk in small chunks.
//
// What it does not own: the meaning of a record. Package bus folds records into sessions and
// retained messages, and decides what may be deleted.
//
// Files: meta.json (format, epoch, how far the journal reaches) and lock in the data directory; in
// its folder journal NNN.seg (records from sequence NNN on), NNN.idx (index and topic summary of a
// sealed segment, rebuilt when missing) and NNN.snap (the state as of sequence NNN, itself a list of
// records). Format 1, which had them all in one directory, is read and upgraded.
package journal
