;; Datalevin within its JVM: loading and running cases for datalevin.py, which hands messages through.
(ns bench
  (:require [clojure.edn :as edn]
            [datalevin.core :as d]
            [datalevin.query :as query]
            [datalevin.query.cache :as cache]
            [jsonista.core :as json])
  (:import [java.io File]))

;; By default it remembers the results of a query, and of the scans of an index within it, for when they come
;; again on the same database. What is measured here is the work: both are off, the latter in `load-data`.
(alter-var-root #'query/*cache?* (constantly false))
(alter-var-root #'cache/*cache?* (constantly false))

(def schema
  {:id        {:db/unique :db.unique/identity :db/valueType :db.type/long}
   :name      {:db/valueType :db.type/string}
   :last-name {:db/valueType :db.type/string}
   :sex       {:db/valueType :db.type/keyword}
   :age       {:db/valueType :db.type/long}
   :salary    {:db/valueType :db.type/long}
   :follows   {:db/valueType :db.type/ref :db/cardinality :db.cardinality/many}})

(def families 100)
(def per-run 1000)

(def connections (atom {}))

(defn connection [name] (get @connections name))

(defn- entities [people follows]
  (let [followed (group-by first follows)]
    (mapv (fn [[id name last-name sex age salary]]
            (cond-> {:db/id id :id id :name name :last-name last-name :sex (keyword sex) :age age :salary salary}
              (followed id) (assoc :follows (mapv second (followed id)))))
          people)))

(defn load-data [path folder]
  (let [{:strs [name people follows]} (json/read-value (File. ^String path))
        data                          (entities people follows)
        directory                     (str folder "/" (System/nanoTime))]
    (some-> (connection name) d/close)
    (let [began (System/nanoTime)
          conn  (d/get-conn directory schema)]
      (d/transact! conn data)
      (let [seconds (/ (- (System/nanoTime) began) 1e9)]
        (d/datalog-index-cache-limit @conn 0)
        (d/analyze @conn)  ; what its optimizer knows; it would find out by itself in time
        (swap! connections assoc name conn)
        (json/write-value-as-string {"seconds" seconds})))))

(defn- prepare [{:strs [kind datalog rules inputs]} name]
  (let [db   @(connection name)
        form (edn/read-string datalog)]
    (case kind
      "query" (let [arguments (cond->> (map long inputs)  ; JSON gives Integers, which it finds nowhere
                                 rules (cons (edn/read-string rules)))]
                #(count (apply d/q form db arguments)))
      "entid" #(count (loop [n 0 found (transient [])]
                        (if (< n per-run)
                          (recur (inc n) (conj! found (d/entid db [:id (inc (rem n families))])))
                          (persistent! found))))
      "pull"  #(count (loop [n 0 found (transient [])]
                        (if (< n per-run)
                          (recur (inc n) (conj! found (d/pull db form (inc (rem n families)))))
                          (persistent! found)))))))

(defn run [message]
  (let [{:strs [on least] case "run" duration "for"} (json/read-value ^String message)
        work                                         (prepare case on)
        start                                        (System/nanoTime)]
    (loop [seconds [] rows 0]
      (if (or (< (count seconds) least) (< (/ (- (System/nanoTime) start) 1e9) duration))
        (let [began (System/nanoTime)
              rows  (work)]
          (recur (conj seconds (/ (- (System/nanoTime) began) 1e9)) rows))
        (json/write-value-as-string {"seconds" seconds "rows" rows})))))
