"""Who is profiled: tenants, their services, pods, and on which shards their profiles land.

Add a service here; its code is made up by `programs.py` from the vocabulary of its language. How busy it is at a
moment is the business of `load.py`.
"""

from dataclasses import dataclass

from pyro_assets.generator.calltree import SampleLabels


@dataclass(frozen=True, slots=True)
class Service:
    """One deployed program.

    `cores` is what all its pods use on average together; `endpoints` are the pprof label sets its request handlers
    run under (a service without them labels nothing); `fragments` the libraries it calls; `labels` its own public
    labels beside service_name and pod.
    """

    tenant: str
    name: str
    language: str
    pods: int
    cores: float
    endpoints: tuple[SampleLabels, ...]
    fragments: tuple[str, ...]
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Pod:
    """One process of a service; `number` counts from 0 within the service."""

    service: Service
    number: int

    @property
    def name(self) -> str:
        """The pod's name as its label `pod` says it."""
        return f"{self.service.name}-{self.number}"

    @property
    def public_labels(self) -> dict[str, str]:
        """Series labels that do not depend on the profile."""
        return {"service_name": self.service.name, "pod": self.name, **dict(self.service.labels)}


def _endpoints(name: str, *values: str, **more: tuple[str, ...]) -> tuple[SampleLabels, ...]:
    return tuple(
        tuple(sorted([(name, value), *((key, column[i]) for key, column in more.items() if column[i])]))
        for i, value in enumerate(values)
    )


SERVICES = (
    Service(
        "acme", "ride-sharing-app", "go", 4, 5.0,
        _endpoints("endpoint", "/bike", "/scooter", "/car", vehicle=("bike", "scooter", "car")),
        ("json", "cache", "sort", "log", "sql"),
        (("region", "eu-north"),),
    ),
    Service(
        "acme", "checkout", "go", 3, 3.0,
        _endpoints("endpoint", "/cart", "/pay", vehicle=("", "car")),
        ("json", "grpc", "sql", "tls"),
        (("region", "eu-north"), ("env", "production")),
    ),
    Service(
        "acme", "search", "java", 3, 4.0,
        _endpoints("endpoint", "/search", "/suggest"),
        ("lucene", "jackson", "cache", "streams"),
        (("region", "us-east"),),
    ),
    Service(
        "acme", "recommender", "python", 2, 3.0, _endpoints("model", "als", "two-tower"), ("numpy", "pandas", "json")
    ),
    Service(
        "globex", "ledger-api", "java", 3, 2.5,
        _endpoints("endpoint", "/post", "/balance"),
        ("jdbc", "jackson", "crypto", "streams"),
        (("env", "production"),),
    ),
    Service(
        "globex", "gateway", "go", 3, 2.0,
        # A dot is legal in a label of Pyroscope and not in one of Prometheus.
        _endpoints("http.method", "GET", "POST"),
        ("tls", "grpc", "log", "compress"),
        (("env", "production"), ("region", "ap-south")),
    ),
    Service(
        "initech", "report-builder", "python", 2, 2.0,
        _endpoints("format", "pdf", "xlsx"),
        ("template", "orm", "pandas", "regex"),
    ),
    Service("initech", "scheduler", "go", 2, 0.8, (), ("sql", "cache", "log", "grpc"), (("env", "staging"),)),
)  # fmt: skip


def pods_of_shard(shard: int, shards: int, services: tuple[Service, ...] = SERVICES) -> tuple[Pod, ...]:
    """The pods whose profiles land on a shard (numbered from 1): a service is spread over neighbouring shards.

    >>> sum(len(pods_of_shard(shard, 4)) for shard in (1, 2, 3, 4)) == sum(service.pods for service in SERVICES)
    True
    """
    return tuple(
        Pod(service, number)
        for position, service in enumerate(services)
        for number in range(service.pods)
        if (position + number) % shards == shard - 1
    )
