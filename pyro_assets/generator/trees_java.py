"""Call trees of Java programs, as indented text that `calltree.py` parses.

Add library fragments that several programs may call to `FRAGMENTS`, what a whole process always does to `RUNTIME`,
and words for made-up business code to `WORDS`. `native` frames stand for code without symbols: they get an address
in the named library and no line.
"""

RUNTIME = """
libjvm.so+0x8f31c0 native
  libjvm.so+0x7aa210 native cpu=6
    libjvm.so+0x7ab9d4 native cpu=4
  libjvm.so+0x51f0e8 native cpu=5
java/lang/Thread.run
  java/util/concurrent/ScheduledThreadPoolExecutor$ScheduledFutureTask.run
    io/micrometer/core/instrument/step/StepMeterRegistry.publish cpu=1 heap=1:320
  java/lang/ref/Reference$ReferenceHandler.run cpu=0.3
libc.so.6+0x98a4e native cpu=1
"""

SERVE = (
    "java/lang/Thread.run",
    "org/apache/tomcat/util/threads/ThreadPoolExecutor$Worker.run",
    "org/apache/coyote/http11/Http11Processor.service",
    "org/springframework/web/servlet/DispatcherServlet.doDispatch",
)

FRAGMENTS = {
    "jackson": """
com/fasterxml/jackson/databind/ObjectMapper.readValue heap=1:640
  com/fasterxml/jackson/databind/deser/BeanDeserializer.vanillaDeserialize x=3 cpu=3 heap=4:144
    com/fasterxml/jackson/core/json/UTF8StreamJsonParser.nextToken cpu=5
      com/fasterxml/jackson/core/json/UTF8StreamJsonParser._parseName inline cpu=2
com/fasterxml/jackson/databind/ObjectMapper.writeValueAsBytes
  com/fasterxml/jackson/databind/ser/BeanSerializer.serialize x=3 cpu=3
    com/fasterxml/jackson/core/json/UTF8JsonGenerator.writeString cpu=3 heap=2:512
""",
    "jdbc": """
com/zaxxer/hikari/HikariDataSource.getConnection mutex=2
  com/zaxxer/hikari/util/ConcurrentBag.borrow cpu=1 mutex=4
    java/util/concurrent/locks/AbstractQueuedSynchronizer.acquire mutex=3
org/postgresql/jdbc/PgPreparedStatement.executeQuery
  org/postgresql/core/v3/QueryExecutorImpl.execute cpu=2 heap=2:256
    org/postgresql/core/v3/QueryExecutorImpl.processResults cpu=2 heap=5:96
      libc.so.6+0x11b2d7 native cpu=4
""",
    "streams": """
java/util/stream/ReferencePipeline.collect
  java/util/stream/AbstractPipeline.copyInto cpu=1
    java/util/ArrayList$ArrayListSpliterator.forEachRemaining
      java/util/stream/ReferencePipeline$3$1.accept inline cpu=2
        java/util/HashMap.computeIfAbsent cpu=4 heap=3:48
          java/util/HashMap.resize cpu=1 heap=1:8192
            java/util/HashMap$TreeNode.treeify cpu=1
""",
    "lucene": """
org/apache/lucene/search/IndexSearcher.search
  org/apache/lucene/search/Weight$DefaultBulkScorer.scoreAll cpu=5
    org/apache/lucene/search/ConjunctionDISI.nextDoc cpu=4
      org/apache/lucene/codecs/lucene99/Lucene99PostingsReader$BlockDocsEnum.advance cpu=7
        org/apache/lucene/util/packed/DirectMonotonicReader.get inline cpu=2
    org/apache/lucene/search/similarities/BM25Similarity$BM25Scorer.score cpu=6
  org/apache/lucene/search/BooleanQuery.rewrite x=4 cpu=1 heap=2:128
""",
    "cache": """
com/github/benmanes/caffeine/cache/BoundedLocalCache.computeIfAbsent cpu=2 mutex=1 heap=1:88
  java/util/concurrent/ConcurrentHashMap.compute cpu=2 mutex=2
""",
    "crypto": """
javax/crypto/Cipher.doFinal
  com/sun/crypto/provider/GaloisCounterMode.engineDoFinal heap=1:1040
    com/sun/crypto/provider/GHASH.processBlocks cpu=5
      libjvm.so+0xc1d770 native cpu=3
""",
}

WORDS = {
    "pattern": "com/{tenant}/{service}/{package}/{type}.{method}",
    "packages": ("domain", "query", "index", "booking", "posting", "audit", "balance", "web"),
    "types": ("OrderService", "LedgerFacade", "QueryPlanner", "EntryRepository", "RuleVisitor", "Batch$Worker"),
    "methods": (
        "handle",
        "plan",
        "lambda$rank$3",
        "post",
        "reconcile",
        "visit",
        "loadAll",
        "validate",
        "flush",
        "toDto",
    ),
    "recursive": ("visit", "reconcile"),
}
