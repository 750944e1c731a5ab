# A homeserver for Complement (complement-tests/run.sh builds it): the program, the libraries it is linked with, and
# nothing else. The context is a folder that holds them:
#   root/hearth, root/hearth.toml, root/entrypoint, root/lib/…
FROM scratch
COPY root/ /
EXPOSE 8008 8448
# No HEALTHCHECK: podman cannot run one everywhere, and Complement asks /_matrix/client/versions anyway.
ENTRYPOINT ["/entrypoint"]
