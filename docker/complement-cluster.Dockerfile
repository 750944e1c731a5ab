# A homeserver for Complement that is a whole cluster (complement-tests/run.sh --cluster builds it): PostgreSQL, Redis, three nodes and
# HAProxy in one container, with the libraries they are linked with and nothing else. The context is a folder that holds
#   root/        as complement.Dockerfile wants it, and redis-server, haproxy, haproxy.cfg
#   postgres/    bin/, and data/, an empty database called hearth
FROM scratch
COPY root/ /
COPY --chown=70:70 postgres/ /postgres/
EXPOSE 8008 8448
ENTRYPOINT ["/entrypoint"]
