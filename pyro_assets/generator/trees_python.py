"""Call trees of Python programs, as indented text that `calltree.py` parses; frames are `file:function`.

Add library fragments that several programs may call to `FRAGMENTS`, what a whole process always does to `RUNTIME`,
and words for made-up business code to `WORDS`. `native` frames stand for extension modules without symbols.
"""

RUNTIME = """
threading.py:_bootstrap
  threading.py:_bootstrap_inner
    threading.py:run
      prometheus_client/exposition.py:generate_latest cpu=1 heap=1:4096
      concurrent/futures/thread.py:_worker cpu=1 goroutine=4
        queue.py:get cpu=1 goroutine=2 mutex=1
          threading.py:wait cpu=0.5 mutex=2 goroutine=1
libpython3.12.so.1.0+0x1a7f20 native
  libpython3.12.so.1.0+0x1a9b44 native cpu=3
"""

SERVE = (
    "gunicorn/workers/gthread.py:handle_request",
    "flask/app.py:wsgi_app",
    "flask/app.py:full_dispatch_request",
    "flask/app.py:dispatch_request",
)

FRAGMENTS = {
    "json": """
json/__init__.py:loads
  json/decoder.py:decode cpu=2
    json/decoder.py:raw_decode cpu=5 heap=6:240
json/__init__.py:dumps
  json/encoder.py:encode
    json/encoder.py:_iterencode x=4 cpu=4 heap=3:96
      json/encoder.py:_iterencode_dict cpu=3
""",
    "orm": """
sqlalchemy/orm/query.py:all
  sqlalchemy/engine/base.py:_execute_context cpu=2 mutex=1 goroutine=1
    psycopg/cursor.py:execute cpu=2
      libpq.so.5.16+0x2b6d0 native cpu=3
  sqlalchemy/orm/loading.py:instances cpu=3
    sqlalchemy/orm/loading.py:_instance cpu=5 heap=8:416
""",
    "numpy": """
numpy/linalg/_linalg.py:svd
  libopenblas64_p-r0-0cf96a72.so+0x4c11a0 native cpu=14
    libopenblas64_p-r0-0cf96a72.so+0x4d2200 native cpu=9
numpy/_core/fromnumeric.py:argsort cpu=1
  _multiarray_umath.cpython-312-x86_64-linux-gnu.so+0x9a3f10 native cpu=5 heap=1:65536
""",
    "pandas": """
pandas/core/groupby/generic.py:aggregate cpu=1
  pandas/core/groupby/ops.py:_cython_operation cpu=2 heap=2:131072
    _libs/groupby.pyx:group_sum cpu=6
  pandas/core/internals/managers.py:reindex_indexer cpu=2 heap=1:98304
""",
    "template": """
jinja2/environment.py:render
  report.html:root cpu=3 heap=4:144
    report.html:block_body cpu=4
      jinja2/runtime.py:_invoke x=3 cpu=2 heap=2:72
        markupsafe/__init__.py:escape cpu=2
""",
    "regex": """
re/__init__.py:sub
  re/_compiler.py:compile cpu=1 heap=1:1024
    re/_parser.py:_parse_sub x=3 cpu=1
      re/_parser.py:_parse cpu=2
""",
}

WORDS = {
    "pattern": "{service}/{package}.py:{method}",
    "packages": ("features", "ranking", "candidates", "layout", "charts", "exports", "sources"),
    "types": ("",),
    "methods": (
        "score",
        "rank_items",
        "collect",
        "explode",
        "render_rows",
        "prüfe_bestand",
        "build_matrix",
        "merge",
        "walk",
    ),
    "recursive": ("walk", "explode"),
}
