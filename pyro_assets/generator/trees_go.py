"""Call trees of Go programs, as indented text that `calltree.py` parses.

Add library fragments that several programs may call to `FRAGMENTS`, what a whole process always does to `RUNTIME`,
and words for made-up business code to `WORDS`. Weights are relative; the meaning of every token stands in
`calltree.parse_tree`.
"""

RUNTIME = """
runtime.mcall
  runtime.park_m
    runtime.schedule
      runtime.findRunnable cpu=2
        runtime.netpoll cpu=1
          runtime.epollwait cpu=2
        runtime.stealWork cpu=1
runtime.bgsweep
  runtime.sweepone cpu=1
runtime.gcBgMarkWorker
  runtime.systemstack
    runtime.gcBgMarkWorker.func2
      runtime.gcDrainMarkWorkerDedicated inline
        runtime.gcDrain cpu=4
          runtime.scanobject cpu=9
            runtime.greyobject cpu=3
              runtime.(*mspan).base inline cpu=1
            runtime.findObject cpu=2
          runtime.markroot
            runtime.scanstack x=2 cpu=1
runtime.main
  main.main
    net/http.(*Server).ListenAndServe inline
      net/http.(*Server).Serve goroutine=1
        net.(*TCPListener).Accept
          internal/poll.(*FD).Accept
            internal/poll.runtime_pollWait goroutine=1
github.com/prometheus/client_golang/prometheus.(*Registry).Gather cpu=0.4 heap=1:4096
  github.com/prometheus/client_golang/prometheus.processMetric cpu=0.4 heap=1:256
"""

SERVE = ("net/http.(*conn).serve", "net/http.serverHandler.ServeHTTP", "net/http.HandlerFunc.ServeHTTP")

FRAGMENTS = {
    "json": """
encoding/json.Unmarshal heap=1:64
  encoding/json.checkValid cpu=3
    encoding/json.stateInString inline cpu=1
  encoding/json.(*decodeState).value x=4
    encoding/json.(*decodeState).object cpu=4 heap=6:192
      encoding/json.cachedTypeFields cpu=1
    encoding/json.(*decodeState).literalStore cpu=3 heap=4:32
      strconv.ParseFloat cpu=1
        strconv.atof64 inline cpu=1
encoding/json.Marshal heap=2:1024
  encoding/json.(*encodeState).reflectValue x=3
    encoding/json.structEncoder.encode cpu=4
      reflect.Value.Field cpu=1
    encoding/json.mapEncoder.encode cpu=2 heap=3:96
      slices.SortFunc[...] inline
        slices.pdqsortCmpFunc[...] cpu=2
          slices.insertionSortCmpFunc[...] cpu=1
""",
    "sql": """
database/sql.(*DB).QueryContext
  database/sql.(*DB).conn mutex=3 goroutine=1
    sync.(*Mutex).Lock inline
      sync.(*Mutex).lockSlow mutex=2 goroutine=0.5
  github.com/jackc/pgx/v5/pgconn.(*PgConn).ExecPrepared cpu=1 goroutine=2
    bufio.(*Reader).Read cpu=1
      net.(*conn).Read
        syscall.Syscall cpu=4
    github.com/jackc/pgx/v5/pgtype.(*Map).Scan cpu=3 heap=5:48
      github.com/jackc/pgx/v5/pgtype.scanPlanBinaryInt8ToInt64.Scan cpu=1
""",
    "cache": """
github.com/hashicorp/golang-lru/v2.(*Cache[...]).Get cpu=1 mutex=2
  github.com/hashicorp/golang-lru/v2/simplelru.(*LRU[...]).Get inline cpu=1
    runtime.mapaccess2_faststr cpu=3
github.com/hashicorp/golang-lru/v2.(*Cache[...]).Add mutex=2 heap=2:112
  runtime.mapassign_faststr cpu=2 heap=1:512
    runtime.growWork_faststr cpu=1
""",
    "compress": """
compress/gzip.(*Writer).Write
  compress/flate.(*Writer).Write inline
    compress/flate.(*compressor).write
      compress/flate.(*compressor).deflate cpu=12
        compress/flate.(*compressor).findMatch cpu=9
          compress/flate.matchLen inline cpu=4
      compress/flate.(*compressor).writeBlock
        compress/flate.(*huffmanBitWriter).writeTokens cpu=5
  compress/flate.NewWriter heap=1:655360
""",
    "grpc": """
google.golang.org/grpc.(*ClientConn).Invoke heap=1:512
  google.golang.org/grpc.invoke
    google.golang.org/grpc.(*clientStream).SendMsg cpu=2 heap=2:256
      google.golang.org/protobuf/proto.Marshal cpu=3 heap=2:384
        google.golang.org/protobuf/internal/impl.(*MessageInfo).marshalAppendPointer x=3 cpu=2
    google.golang.org/grpc.(*clientStream).RecvMsg cpu=1 goroutine=3
      google.golang.org/grpc/internal/transport.(*recvBufferReader).readClient goroutine=2
google.golang.org/grpc/internal/transport.(*http2Client).reader cpu=1 goroutine=1
  golang.org/x/net/http2.(*Framer).ReadFrame cpu=2 heap=1:128
    syscall.Syscall cpu=2
""",
    "sort": """
sort.Slice
  sort.pdqsort_func x=3 cpu=3
    sort.partition_func cpu=4
      reflect.Swapper.func9 inline cpu=2
    sort.heapSort_func cpu=1
""",
    "tls": """
crypto/tls.(*Conn).Write mutex=1
  crypto/tls.(*halfConn).encrypt heap=1:2048
    crypto/cipher.(*gcm).Seal
      crypto/internal/fips140/aes/gcm.gcmAesEnc cpu=6
""",
    "log": """
log/slog.(*Logger).Info
  log/slog.(*JSONHandler).Handle mutex=4
    log/slog.(*commonHandler).handle cpu=1 heap=1:64
      log/slog/internal/buffer.(*Buffer).WriteString inline cpu=1
      os.(*File).Write
        syscall.Syscall cpu=2
""",
}

WORDS = {
    "pattern": "github.com/{tenant}/{service}/internal/{package}.(*{type}).{method}",
    "packages": ("cart", "geo", "pricing", "store", "match", "auth", "route", "invoice", "plan", "quota"),
    "types": ("Service", "Engine", "Repository", "Index[...]", "Planner", "Resolver", "Pool[...]", "Client"),
    "methods": (
        "Find",
        "Apply",
        "Resolve",
        "Refresh",
        "Rank",
        "Merge",
        "Validate",
        "Load",
        "Commit",
        "Expand",
        "Walk",
    ),
    "recursive": ("Walk", "Expand"),
}
